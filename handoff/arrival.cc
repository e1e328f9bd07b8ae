#include "handoff/arrival.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/supervisor.h"
#include "handoff/custodian.h"
#include "handoff/error_code.h"
#include "handoff/file_locks.h"
#include "handoff/guarded_call.h"
#include "handoff/receiver.h"
#include "handoff/rollback.h"
#include "handoff/signal_mask.h"

namespace liveexec {
namespace {

constexpr size_t kMaxNotTaken = 64;  // named in the journal

class Arrival {
 public:
  Arrival(Program& program, const Inheritance& inheritance)
      : program_(program),
        inheritance_(inheritance),
        receiver_(program.syscalls, inheritance),
        start_ns_(MonotonicNs()) {}

  absl::Status Run() {
    LIVEEXEC_ASSIGN_OR_RETURN(Received received, receiver_.Receive());
    TakeOverJournal(received);
    received.recorder.NotePhase(Phase::kVerifying);
    phases_.Enter(Phase::kVerifying, entry_);
    LIVEEXEC_ASSIGN_OR_RETURN(Verified verified,
                              receiver_.Verify(std::move(received), program_.note));
    Enter(Phase::kRehydrating, verified.recorder);
    TakeOverProgram(verified.manifest);
    LIVEEXEC_RETURN_IF_ERROR(RetakeLocks(verified));
    LIVEEXEC_ASSIGN_OR_RETURN(EscrowFds escrow, EscrowFds::Create(std::move(verified.manifest.fds),
                                                                  std::move(verified.fds)));
    LIVEEXEC_RETURN_IF_ERROR(RehydrateAll(program_.components, verified, escrow, false));
    Enter(Phase::kSelfChecking, verified.recorder);
    LIVEEXEC_RETURN_IF_ERROR(SelfCheckAll(program_.components, verified.recorder));
    Commit(verified, escrow);
    return absl::OkStatus();
  }

 private:
  bool rolled_back() const { return inheritance_.mode != StartMode::kUpgrade; }

  void Enter(Phase phase, FlightRecorder& recorder) {
    recorder.NotePhase(phase);
    phases_.Enter(phase, entry_);
  }

  // The entry as it was when the manifest was sealed, and the times that followed.
  void TakeOverJournal(const Received& received) {
    entry_ = received.manifest.current;
    const FlightRecorder& recorder = received.recorder;
    // The entry ends with a phase that was still under way.
    Phase last = entry_.phases.empty()
                     ? Phase::kIdle
                     : PhaseFromName(entry_.phases.back().phase).value_or(Phase::kIdle);
    phases_ = PhaseMachine(last, true);
    for (Phase phase : {Phase::kSending, Phase::kExecuting, Phase::kReceiving, Phase::kVerifying,
                        Phase::kRehydrating, Phase::kSelfChecking}) {
      int64_t start = recorder.PhaseStart(phase);
      if (start == 0 || !MayFollow(phases_.phase(), phase)) continue;
      phases_.Enter(phase, entry_, start);
    }
    if (!rolled_back()) return;
    FlightReport report = recorder.Report();
    if (inheritance_.mode == StartMode::kRollback && report.failure == FailureKind::kNone) {
      report.failure = FailureKind::kStatus;
      report.code = "E_GUARD";
      report.message = "it could not even say why: look at the limits of memory and of fds";
    }
    entry_.outcome = inheritance_.mode == StartMode::kResurrection ? Outcome::kResurrected
                                                                   : Outcome::kRolledBack;
    entry_.code = report.Code();
    entry_.message = report.Sentence();
    entry_.failed_phase = std::string(PhaseName(report.phase));
    program_.failure = report;
    if (!MayFollow(phases_.phase(), Phase::kRollingBack)) {
      phases_ = PhaseMachine(Phase::kReceiving, false);
    }
    phases_.Enter(Phase::kRollingBack, entry_, start_ns_);
    phases_.Enter(Phase::kReceiving, entry_);
  }

  void TakeOverProgram(const Manifest& manifest) {
    program_.traits = manifest.traits;
    program_.generation = manifest.generation + (rolled_back() ? 0 : 1);
    program_.process_started_unix_ns = manifest.process_started_unix_ns;
    // As it was given, symbolic links and all: the next upgrade without a path follows them again.
    program_.default_binary = rolled_back() ? manifest.upgrade_binary : manifest.current.binary;
    std::lock_guard lock(program_.mutex);
    program_.attempts = manifest.upgrades_attempted;
    for (const JournalEntry& past : manifest.history) program_.journal.Add(past);
  }

  // exec took the POSIX locks. For a new program one that is gone is a reason to go back; for the
  // old one, which has nowhere to go back to, it is a loss to report.
  absl::Status RetakeLocks(const Verified& verified) {
    for (const FileLock& lock : verified.manifest.locks) {
      absl::Status status = TakeLock(program_.syscalls, verified.fds[lock.entry].get(), lock);
      if (status.ok()) continue;
      const FdEntry& entry = verified.manifest.fds[lock.entry];
      status = WithCode(Annotate(status, absl::StrCat("lock ", entry.component, "/", entry.role,
                                                      "/", entry.number)),
                        "E_LOCK");
      if (!rolled_back()) return status;
      entry_.notes.push_back(absl::StrCat("lost: ", std::string(status.message())));
    }
    return absl::OkStatus();
  }

  // The point of no return: nothing here can fail.
  void Commit(Verified& verified, EscrowFds& escrow) {
    Enter(Phase::kCommitted, verified.recorder);
    int64_t blackout_start_ns = verified.manifest.blackout_start_ns;
    FlightRecord& record = *verified.recorder.record();
    record.commit_started = 1;
    DisarmRollback();
    ReleaseCustodian(record.custodian_pid);
    // Drains the channel: once the custodian has ended, nobody holds a receiving end.
    ::close(inheritance_.channel);
    for (Component* component : program_.components) {
      (void)GuardedCall("take possession", [&] {
        component->Committed();
        return absl::OkStatus();
      });
    }
    for (Component* component : program_.components) {
      (void)GuardedCall("activate", [&] {
        component->Activate();
        return absl::OkStatus();
      });
    }
    RestoreTraits();
    TellSupervisor();
    phases_.Stop(entry_);
    KeepPrevious(std::move(verified.old_program));
    if (!rolled_back()) entry_.outcome = Outcome::kCommitted;
    entry_.blackout_ns = MonotonicNs() - blackout_start_ns;
    entry_.pid = static_cast<uint32_t>(::getpid());
    for (std::string& name : escrow.NotTaken(kMaxNotTaken)) {
      if (entry_.fds_left_behind.size() < kMaxNotTaken) {
        entry_.fds_left_behind.push_back(absl::StrCat("not taken: ", name));
      }
    }
    std::lock_guard lock(program_.mutex);
    program_.journal.Add(std::move(entry_));
  }

  // For a way back after the commit, which is an upgrade to the program before.
  void KeepPrevious(UniqueFd old_program) {
    if (rolled_back()) return;
    auto image = PinnedImage::Adopt(program_.syscalls, std::move(old_program));
    if (image.ok()) program_.previous_image = *std::move(image);
  }

  // Only a resurrection changes what a supervisor must know: the PID.
  void TellSupervisor() {
    if (inheritance_.mode != StartMode::kResurrection) return;
    absl::Status status = NotifySupervisor(absl::StrCat("MAINPID=", ::getpid(), "\nREADY=1"));
    if (!status.ok()) {
      entry_.notes.push_back(absl::StrCat("the supervisor does not know the new PID: ",
                                          std::string(status.message())));
    }
  }

  // `pid`: 0 when there was none; our own after a resurrection.
  void ReleaseCustodian(pid_t pid) {
    if (pid <= 0 || pid == ::getpid()) return;
    if (CustodianHasEnded(pid)) {
      entry_.notes.push_back("the custodian ended before the commit: nobody was on guard");
    }
    DismissCustodian(pid);
    program_.custodian_to_reap = pid;
  }

  void RestoreTraits() {
    const ProcessTraits& traits = program_.traits;
    program_.syscalls.Prctl(PR_SET_NAME, reinterpret_cast<uint64_t>(traits.command_name.c_str()));
    // exec made the process dumpable again.
    if (!traits.dumpable) program_.syscalls.Prctl(PR_SET_DUMPABLE, 0);
    sigset_t mask = SignalSet(traits.blocked_signals);
    sigset_t kept = SignalsKeptBlocked();
    sigorset(&mask, &mask, &kept);
    program_.syscalls.Sigprocmask(SIG_SETMASK, &mask, nullptr);
  }

  Program& program_;
  const Inheritance& inheritance_;
  Receiver receiver_;
  int64_t start_ns_;
  JournalEntry entry_;
  PhaseMachine phases_;
};

}  // namespace

absl::Status Arrive(Program& program, const Inheritance& inheritance) {
  return Arrival(program, inheritance).Run();
}

}  // namespace liveexec
