// FlightRecorder: one page of shared memory that outlives the program that writes it.
//
// The new program notes in it where it is, without a system call; when it crashes, its signal
// handler adds why. Whoever comes next, the old program after a rollback or a resurrection, reads
// it and can tell the operator what happened.
//
// The page is written by one program at a time. Its content is what a crashing program left: every
// reader bounds what it reads. Layout version 1; programs of different ages share it, so fields are
// only ever appended.
#ifndef LIVEEXEC_HANDOFF_FLIGHT_RECORDER_H_
#define LIVEEXEC_HANDOFF_FLIGHT_RECORDER_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"
#include "handoff/phase.h"

namespace liveexec {

// Why a new program gave up. The numbers are in memory that crosses: never reuse one.
enum class FailureKind : uint32_t {
  kNone = 0,      // it did not get to say: killed, or still running
  kStatus = 1,    // an error that it returned
  kSignal = 2,    // a fatal signal
  kDeadline = 3,  // it took too long
  kExit = 4,      // it called exit()
};

struct FlightRecord {
  static constexpr uint64_t kMagic = 0x31444345524c564c;  // "LVLRECD1"

  uint64_t magic;
  int64_t rehydrate_deadline_ns;  // from exec to commit; written by the old program
  std::atomic<uint32_t> phase;    // Phase of the new program
  uint32_t failure_kind;          // FailureKind
  int32_t signal;
  int32_t signal_code;      // si_code
  uint64_t address;         // si_addr
  uint64_t instruction;     // offset of the faulting instruction in the program's file mapping
  uint64_t commit_started;  // 1 from the commit on: no way back
  char component[72];       // being rehydrated or checked; NUL-terminated
  char code[40];            // "E_SCHEMA"
  char message[1024];       // one sentence
  int64_t phase_start_ns[kPhaseCount];  // CLOCK_MONOTONIC; 0: not entered. For the phases that
                                        // begin after the manifest is sealed
  uint64_t sealed;                      // 1: the channel is full, there is something to start from
  int32_t custodian_pid;                // 0: there is none
  uint64_t rehearsal_accepted;          // 1: the candidate rebuilt everything and checked itself
  uint64_t protected_begin;             // addresses: what nobody may write before the commit is
  uint64_t protected_end;               // between them; 0: there is nothing
  int64_t rollback_start_ns;  // CLOCK_MONOTONIC: when the new program exec'd the old one; 0: it
                              // did not
};

// What a record says, copied out and bounded.
struct FlightReport {
  Phase phase = Phase::kExecuting;
  FailureKind failure = FailureKind::kNone;
  int signal = 0;
  uint64_t address = 0;
  uint64_t instruction = 0;
  bool early_write = false;  // to resident memory
  std::string component;
  std::string code;
  std::string message;
  std::string function;  // at `instruction`; not in the record: whoever has the program looks it up

  // "E_CRASH" and the like, and one sentence for the operator.
  std::string Code() const;
  std::string Sentence() const;
};

class FlightRecorder {
 public:
  // A new, empty page in a memfd. Errors carry the errno.
  static absl::StatusOr<FlightRecorder> Create(Syscalls& syscalls);
  // The page behind `fd`. DataLoss when it is not one.
  static absl::StatusOr<FlightRecorder> Adopt(Syscalls& syscalls, UniqueFd fd);

  FlightRecorder() = default;
  FlightRecorder(FlightRecorder&& other) noexcept;
  FlightRecorder& operator=(FlightRecorder&& other) noexcept;
  ~FlightRecorder();

  int fd() const { return fd_.get(); }
  FlightRecord* record() { return record_; }  // null only after default construction

  // Notes the phase and when it began, the first time that it does.
  void NotePhase(Phase phase);
  void NoteComponent(std::string_view name);
  // Widens the range of what nobody may write before the commit; an empty one changes nothing.
  void NoteProtected(uint64_t begin, uint64_t end);
  void NoteFailure(FailureKind kind, std::string_view code, std::string_view message);

  FlightReport Report() const;
  // When `phase` began, in nanoseconds of CLOCK_MONOTONIC; 0 when it did not.
  int64_t PhaseStart(Phase phase) const;

 private:
  FlightRecorder(UniqueFd fd, FlightRecord* record) : fd_(std::move(fd)), record_(record) {}

  UniqueFd fd_;
  FlightRecord* record_ = nullptr;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_FLIGHT_RECORDER_H_
