#include "handoff/preparation.h"

#include <errno.h>
#include <sys/random.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/budgets.h"
#include "handoff/candidate.h"
#include "handoff/error_code.h"
#include "handoff/precopy.h"
#include "handoff/rehearsal.h"

namespace liveexec {
namespace {

absl::Status LookAtOpenFds(Program& program, Attempt& attempt) {
  auto open_fds = ListOpenFds(program.syscalls, *attempt.inspector);
  if (!open_fds.ok()) return WithCode(open_fds.status(), "E_FDS");
  attempt.open_fds = *std::move(open_fds);
  return absl::OkStatus();
}

absl::Status Check(Program& program, Attempt& attempt) {
  int64_t start_ns = MonotonicNs();
  LIVEEXEC_RETURN_IF_ERROR(CheckCandidate(program, attempt));
  // A disk that hangs cannot be interrupted; one that is merely slow is noticed here.
  if (absl::Nanoseconds(MonotonicNs() - start_ns) > program.options.check_deadline) {
    return CodedError("E_TIMEOUT", absl::StatusCode::kDeadlineExceeded,
                      "reading the candidate took longer than check_deadline: look at the disk, or "
                      "raise the deadline");
  }
  attempt.inspector = std::make_unique<FdInspector>(program.syscalls);
  LIVEEXEC_RETURN_IF_ERROR(LookAtOpenFds(program, attempt));
  return CheckFdBudget(program, attempt);
}

// Nobody else will: the next program knows only of the custodian that it finds in its own record.
void ReapPreviousCustodian(Program& program) {
  if (const pid_t pid = program.custodian_to_reap.exchange(0); pid != 0) EndCustodian(pid);
}

absl::Status Guard(Program& program, Attempt& attempt) {
  ReapPreviousCustodian(program);
  attempt.stamp.generation = program.generation;
  if (getrandom(attempt.stamp.nonce.data(), attempt.stamp.nonce.size(), 0) !=
      static_cast<ssize_t>(attempt.stamp.nonce.size())) {
    return ErrnoError(errno, "getrandom");
  }
  LIVEEXEC_RETURN_IF_ERROR(Precopy(program, attempt));
  LIVEEXEC_RETURN_IF_ERROR(LookAtOpenFds(program, attempt));
  // Precopying may have taken its time, in which the server has served on.
  LIVEEXEC_RETURN_IF_ERROR(CheckFdBudget(program, attempt));
  LIVEEXEC_ASSIGN_OR_RETURN(attempt.channel, CreateFdChannel(program.syscalls));
  LIVEEXEC_RETURN_IF_ERROR(CheckChannelBudget(program, attempt));
  attempt.entry.notes.push_back(DescribeNeeds(attempt.needs));
  LIVEEXEC_ASSIGN_OR_RETURN(attempt.recorder, FlightRecorder::Create(program.syscalls));
  attempt.recorder.record()->rehydrate_deadline_ns =
      absl::ToInt64Nanoseconds(program.options.rehydrate_deadline);
  if (!program.options.custodian) return absl::OkStatus();
  auto custodian = Custodian::Start({.channel = attempt.channel.receiver.get(),
                                     .old_program = program.own_image->fd(),
                                     .record = attempt.recorder.record(),
                                     .nonce = attempt.stamp.nonce,
                                     .arguments = program.traits.arguments,
                                     .environment = EnvironmentForNextProgram(program)});
  if (!custodian.ok()) return custodian.status();
  attempt.custodian = *std::move(custodian);
  return absl::OkStatus();
}

}  // namespace

absl::Status Prepare(Program& program, Attempt& attempt, const PhaseObserver& observer) {
  auto enter = [&](Phase phase) {
    attempt.phases.Enter(phase, attempt.entry);
    observer(phase);
  };
  enter(Phase::kChecking);
  LIVEEXEC_RETURN_IF_ERROR(Check(program, attempt));
  enter(Phase::kRehearsing);
  if (program.options.rehearse) {
    absl::Status status = Rehearse(program, attempt);
    if (CodeOf(status) == "E_ADDRESS" && !attempt.portable_only) {
      attempt.portable_only = true;
      attempt.entry.notes.push_back(
          absl::StrCat("without resident memory: ", std::string(status.message())));
      status = Rehearse(program, attempt);
    }
    // What has no code of its own did not come from the candidate.
    LIVEEXEC_RETURN_IF_ERROR(WithCode(status, "E_GUARD"));
  }
  enter(Phase::kGuarding);
  return WithCode(Guard(program, attempt), "E_GUARD");
}

}  // namespace liveexec
