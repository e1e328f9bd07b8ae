#include "handoff/preparation.h"

#include <errno.h>
#include <sys/random.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/compatibility.h"
#include "handoff/error_code.h"
#include "handoff/rehearsal.h"

namespace liveexec {
namespace {

// Free fds that the crossing needs on either side: images, channel, the new program's loader.
constexpr size_t kSpareFds = 64;

absl::Status CheckFdBudget(Program& program, const Attempt& attempt) {
  struct rlimit limit;
  if (int result = program.syscalls.Getrlimit(RLIMIT_NOFILE, &limit); result < 0) {
    return ErrnoError(-result, "read RLIMIT_NOFILE");
  }
  size_t needed = attempt.open_fds.size() + program.components.size() + kSpareFds;
  if (needed <= limit.rlim_cur) return absl::OkStatus();
  return CodedError(
      "E_FDS", absl::StatusCode::kResourceExhausted,
      absl::StrCat("the upgrade needs ", needed, " file descriptors and RLIMIT_NOFILE", " allows ",
                   limit.rlim_cur, "; raise the limit"));
}

absl::Status Check(Program& program, Attempt& attempt) {
  LIVEEXEC_ASSIGN_OR_RETURN(PinnedProgram candidate,
                            CheckFile(program.syscalls, attempt.entry.binary));
  attempt.entry.to_version = candidate.note.version;
  attempt.candidate = std::move(candidate);
  Downgrades downgrades = attempt.allow_downgrade ? Downgrades::kAllow : Downgrades::kRefuse;
  LIVEEXEC_RETURN_IF_ERROR(Compare(program.note, attempt.candidate->note, downgrades).ToStatus());
  attempt.inspector = std::make_unique<FdInspector>(program.syscalls);
  auto open_fds = ListOpenFds(program.syscalls, *attempt.inspector);
  if (!open_fds.ok()) return WithCode(open_fds.status(), "E_FDS");
  attempt.open_fds = *std::move(open_fds);
  return CheckFdBudget(program, attempt);
}

absl::Status Guard(Program& program, Attempt& attempt) {
  attempt.stamp.generation = program.generation;
  if (getrandom(attempt.stamp.nonce.data(), attempt.stamp.nonce.size(), 0) !=
      static_cast<ssize_t>(attempt.stamp.nonce.size())) {
    return ErrnoError(errno, "getrandom");
  }
  LIVEEXEC_ASSIGN_OR_RETURN(attempt.channel, CreateFdChannel(program.syscalls));
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
    LIVEEXEC_RETURN_IF_ERROR(WithCode(Rehearse(program, attempt), "E_REHEARSAL"));
  }
  enter(Phase::kGuarding);
  return WithCode(Guard(program, attempt), "E_GUARD");
}

}  // namespace liveexec
