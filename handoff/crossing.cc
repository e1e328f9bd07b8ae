#include "handoff/crossing.h"

#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/exporter.h"
#include "handoff/guarded_call.h"
#include "handoff/launcher.h"

namespace liveexec {
namespace {

constexpr size_t kMaxLeftBehind = 64;  // named in the journal

// Blocks the calling thread's signals, but for those that its own doing raises. A handler that ran
// in the blackout would write down what it was told in memory, or in a pipe, that exec destroys;
// what is pending crosses, or is delivered when the old program goes on. The other threads are
// parked with theirs blocked.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t set;
    sigfillset(&set);
    for (int own : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP, SIGPIPE, SIGXFSZ}) {
      sigdelset(&set, own);
    }
    pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// The blackout of one attempt.
class Blackout {
 public:
  Blackout(Program& program, Attempt& attempt) : program_(program), attempt_(attempt) {}

  absl::Status Run() {
    LIVEEXEC_RETURN_IF_ERROR(Quiesce());
    LIVEEXEC_RETURN_IF_ERROR(Enter(Phase::kExporting));
    Exporter exporter(program_.syscalls, *attempt_.inspector, program_.note);
    LIVEEXEC_ASSIGN_OR_RETURN(Exported exported,
                              exporter.Export(program_.components, SuccessorOf(attempt_)));
    for (std::string& note : exported.notes) attempt_.entry.notes.push_back(std::move(note));
    LIVEEXEC_RETURN_IF_ERROR(RefuseChannel(exported));
    LIVEEXEC_RETURN_IF_ERROR(Enter(Phase::kSealing));
    const auto is_open = [this](int fd) { return program_.syscalls.Fcntl(fd, F_GETFD, 0) >= 0; };
    attempt_.entry.fds_left_behind =
        LeftBehind(attempt_.open_fds, exported.fds, is_open, kMaxLeftBehind);
    LIVEEXEC_ASSIGN_OR_RETURN(Sealed sealed,
                              exporter.Seal(std::move(exported), attempt_.stamp,
                                            DescribeForManifest(program_, attempt_)));
    LIVEEXEC_RETURN_IF_ERROR(Enter(Phase::kSending));
    LIVEEXEC_ASSIGN_OR_RETURN(Sent sent,
                              exporter.Send(std::move(sealed), std::move(attempt_.channel),
                                            attempt_.recorder.fd(), program_.own_image->fd()));
    // From here on a custodian has something to start the old program from.
    attempt_.recorder.record()->sealed = 1;
    LIVEEXEC_RETURN_IF_ERROR(Enter(Phase::kExecuting));
    return Exec(sent);
  }

  // Undoes Quiesce, in reverse order.
  void Resume() {
    for (size_t i = quiesced_; i > 0; --i) {
      Component* component = program_.components[i - 1];
      // There is nothing better to do with an exception than to go on resuming the others.
      (void)GuardedCall("resume", [&] {
        component->Resume();
        return absl::OkStatus();
      });
    }
  }

 private:
  absl::Status Quiesce() {
    for (Component* component : program_.components) {
      // Counted before the call: a Quiesce that failed half-way is resumed too.
      ++quiesced_;
      absl::Status status =
          GuardedCall(absl::StrCat("quiesce component ", std::string(component->name())),
                      [&] { return component->Quiesce(); });
      if (!status.ok()) return WithCode(status, "E_QUIESCE");
    }
    return absl::OkStatus();
  }

  // The budget is looked at between the phases.
  absl::Status Enter(Phase phase) {
    int64_t spent = MonotonicNs() - attempt_.blackout_start_ns;
    if (absl::Nanoseconds(spent) > attempt_.request.max_blackout) {
      return CodedError(
          "E_TIMEOUT", absl::StatusCode::kDeadlineExceeded,
          absl::StrCat("the blackout took ", spent / 1000, " us before ",
                       std::string(PhaseName(phase)), ", more than its budget of ",
                       absl::ToInt64Microseconds(attempt_.request.max_blackout), " us"));
    }
    attempt_.phases.Enter(phase, attempt_.entry);
    attempt_.recorder.NotePhase(phase);
    return absl::OkStatus();
  }

  // With an end of the channel in its own queue, nobody could ever free what is in it.
  absl::Status RefuseChannel(const Exported& exported) {
    for (int end : {attempt_.channel.sender.get(), attempt_.channel.receiver.get()}) {
      LIVEEXEC_ASSIGN_OR_RETURN(FdIdentity own, attempt_.inspector->Inspect(end));
      for (const FdEntry& entry : exported.entries) {
        if (entry.identity.socket_cookie == 0 ||
            entry.identity.socket_cookie != own.socket_cookie) {
          continue;
        }
        return CodedError("E_FD", absl::StatusCode::kFailedPrecondition,
                          absl::StrCat(entry.component, "/", entry.role, "/", entry.number,
                                       " is the upgrade's own channel: carry only fds that the "
                                       "component opened itself"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Exec(const Sent& sent) {
    LIVEEXEC_RETURN_IF_ERROR(Unchanged(program_.syscalls, *attempt_.candidate));
    Launch launch{.program = attempt_.candidate->image.fd(),
                  .channel = sent.channel.receiver.get(),
                  .mode = StartMode::kUpgrade,
                  .nonce = attempt_.stamp.nonce,
                  .traits = &program_.traits};
    launch.environment = EnvironmentForNextProgram(program_);
    // Bounded, so that an endless budget does not wrap around into the past.
    absl::Duration budget = std::min(attempt_.request.max_blackout, absl::Hours(24 * 365));
    launch.latest_ns = attempt_.blackout_start_ns + absl::ToInt64Nanoseconds(budget);
    for (const OpenFd& one : attempt_.open_fds) {
      if (one.inheritable) launch.inheritable.push_back(one.fd);
    }
    return Execute(program_.syscalls, launch);
  }

  Program& program_;
  Attempt& attempt_;
  size_t quiesced_ = 0;
};

}  // namespace

std::optional<absl::Status> Cross(Program& program, Attempt& attempt) {
  attempt.blackout_start_ns = MonotonicNs();
  const SignalsBlocked blocked;
  program.main.BeforeStandstill();
  // A thread that has just begun something long is not waited for beyond the blackout's budget: it
  // is tried again when that has ended.
  const bool budgeted = attempt.request.max_blackout < program.options.quiesce_deadline;
  absl::Status parked = CatchingCall("stop the threads", [&] {
    return program.parking.Park(Parking::For::kExec, std::min(attempt.request.max_blackout,
                                                              program.options.quiesce_deadline));
  });
  if (budgeted && absl::IsDeadlineExceeded(parked)) return std::nullopt;
  if (parked.ok()) {
    parked = CatchingCall("run what was posted",
                          [&] { return program.parking.RunPosted(program.main); });
  }
  if (!parked.ok()) program.parking.Release();
  if (absl::IsUnavailable(parked)) return std::nullopt;
  if (!parked.ok()) return WithCode(parked, "E_QUIESCE");
  Blackout blackout(program, attempt);
  absl::Status status = CatchingCall("prepare the exec", [&] { return blackout.Run(); });
  // What is in the channel grows stale with the first thing that a resumed component does.
  attempt.recorder.record()->sealed = 0;
  blackout.Resume();
  program.parking.Release();
  attempt.entry.blackout_ns = MonotonicNs() - attempt.blackout_start_ns;
  return status;
}

}  // namespace liveexec
