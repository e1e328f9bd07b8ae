// The journal: what became of every upgrade of this process. Carried from program to program.
#ifndef LIVEEXEC_HANDOFF_JOURNAL_H_
#define LIVEEXEC_HANDOFF_JOURNAL_H_

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace liveexec {

// DESIGN.md, section 1, promise 3.
enum class Outcome : uint8_t {
  kAbandoned = 0,    // A: before exec; the old program went on
  kCommitted = 1,    // B: the new program serves
  kRolledBack = 2,   // C: after exec; the same process runs the old program again
  kResurrected = 3,  // R: the process died; the old program runs again under a new PID
};
std::string_view OutcomeName(Outcome outcome);  // "abandoned", ...

struct PhaseTime {
  std::string phase;     // PhaseName()
  int64_t start_ns = 0;  // CLOCK_MONOTONIC
  int64_t duration_ns = 0;
};

struct JournalEntry {
  uint64_t upgrade = 0;         // 1, 2, ...: counts every attempt of this process
  std::string trigger;          // "signal", "control", "api"
  std::string binary;           // the candidate's path
  std::string binary_identity;  // which file that was; empty when it could not be opened
  std::string from_version;
  std::string to_version;  // empty when the candidate could not be read
  Outcome outcome = Outcome::kAbandoned;
  // "" for kCommitted (or E_DIED: handoff/supervision.h), else "E_NOENT", ...
  // (handoff/error_code.h)
  std::string code;
  std::string message;          // one sentence for the operator; empty when the code is
  std::string failed_phase;     // PhaseName() of the phase that failed, or empty
  int64_t started_unix_ns = 0;  // CLOCK_REALTIME
  int64_t blackout_ns = 0;      // quiesce to serving again; 0 when there was none
  uint32_t pid = 0;             // of the process that ended up serving
  uint32_t fds = 0;             // carried
  uint64_t state_bytes = 0;     // all images
  std::vector<std::string> fds_left_behind;  // "17 eventfd (no role)", at most 64
  std::vector<std::string> notes;            // what an operator should know, also of a success
  std::vector<PhaseTime> phases;
};

class Journal {
 public:
  static constexpr size_t kMaxEntries = 64;  // the oldest are dropped
  void Add(JournalEntry entry);
  // For what is found out about an upgrade after its end. There is an entry.
  void ReplaceLast(JournalEntry entry) { entries_.back() = std::move(entry); }
  const std::deque<JournalEntry>& entries() const { return entries_; }

 private:
  std::deque<JournalEntry> entries_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_JOURNAL_H_
