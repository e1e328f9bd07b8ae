#include "handoff/rehearsal.h"

#include <errno.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/wait.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/budgets.h"
#include "handoff/candidate_process.h"
#include "handoff/error_code.h"
#include "handoff/exporter.h"
#include "handoff/rehearsal_candidate.h"
#include "handoff/snapshot.h"

namespace liveexec {
namespace {

absl::Status Refusal(std::string_view code, std::string_view what, const std::string& output) {
  absl::string_view said = absl::StripAsciiWhitespace(output);
  std::string message = absl::StrCat("the candidate failed its rehearsal: ", std::string(what),
                                     "; correct it before it is tried again");
  if (!said.empty()) absl::StrAppend(&message, "; it wrote: ", said);
  return CodedError(code, absl::StatusCode::kFailedPrecondition, message);
}

std::string DescribeSignal(int status) {
  const char* name = sigabbrev_np(WTERMSIG(status));
  return absl::StrCat("it died of SIG", name != nullptr ? name : absl::StrCat(WTERMSIG(status)));
}

// Nothing that the candidate tells the supervisor is to be taken for the server's word.
std::vector<std::string> EnvironmentForRehearsal(const Program& program) {
  std::vector<std::string> environment = EnvironmentForNextProgram(program);
  std::erase_if(environment, [](const std::string& variable) {
    return absl::StartsWith(variable, "NOTIFY_SOCKET=");
  });
  return environment;
}

// What the candidate's end and its record say.
absl::Status Verdict(int status, FlightRecorder& recorder, const std::string& output) {
  FlightReport report = recorder.Report();
  if (recorder.record()->rehearsal_accepted == 1 && WIFEXITED(status) &&
      WEXITSTATUS(status) == kRehearsalAccepted) {
    return absl::OkStatus();
  }
  if (report.failure == FailureKind::kStatus) {
    bool own_code = report.code == "E_SCHEMA" || report.code == "E_APP" || report.code == "E_ABI";
    return Refusal(own_code ? report.code : "E_REHEARSAL", report.message, "");
  }
  std::string where;
  if (report.phase != Phase::kExecuting) {
    where = absl::StrCat(" while ", std::string(PhaseName(report.phase)));
    if (!report.component.empty()) absl::StrAppend(&where, " component ", report.component);
  }
  if (WIFSIGNALED(status)) return Refusal("E_REHEARSAL", DescribeSignal(status) + where, output);
  return Refusal(
      "E_REHEARSAL",
      absl::StrCat("it exited with status ", WEXITSTATUS(status), " without a verdict", where),
      output);
}

}  // namespace

absl::Status Rehearse(Program& program, Attempt& attempt) {
  int64_t snapshot_start_ns = MonotonicNs();
  LIVEEXEC_ASSIGN_OR_RETURN(Exported exported, TakeSnapshot(program, *attempt.inspector));
  for (const Exported::Part& part : exported.parts) {
    if (!part.context->sampled()) continue;
    attempt.entry.notes.push_back(absl::StrCat("only a part of component ", part.name,
                                               " was rehearsed: the whole of it ",
                                               "takes longer to export than rehearsal_slice"));
  }
  int64_t snapshot_ns = MonotonicNs() - snapshot_start_ns;
  LIVEEXEC_RETURN_IF_ERROR(CheckBlackoutBudget(program, attempt, snapshot_ns));
  ImageStamp stamp{.generation = program.generation, .nonce = {}};
  if (getrandom(stamp.nonce.data(), stamp.nonce.size(), 0) !=
      static_cast<ssize_t>(stamp.nonce.size())) {
    return ErrnoError(errno, "getrandom");
  }
  Exporter exporter(program.syscalls, *attempt.inspector, program.note);
  LIVEEXEC_ASSIGN_OR_RETURN(Sealed sealed, exporter.Seal(std::move(exported), stamp,
                                                         DescribeForManifest(program, attempt)));
  LIVEEXEC_RETURN_IF_ERROR(CheckMemoryBudget(sealed.state_bytes));
  sealed.fds.clear();  // Never the server's own.
  LIVEEXEC_ASSIGN_OR_RETURN(FdChannelEnds channel, CreateFdChannel(program.syscalls));
  LIVEEXEC_ASSIGN_OR_RETURN(FlightRecorder recorder, FlightRecorder::Create(program.syscalls));
  LIVEEXEC_ASSIGN_OR_RETURN(Sent sent, exporter.Send(std::move(sealed), std::move(channel),
                                                     recorder.fd(), program.own_image->fd()));
  auto process = CandidateProcess::Spawn(
      {.program = attempt.candidate->image.fd(),
       .channel = sent.channel.receiver.get(),
       .inheritance = {.mode = StartMode::kRehearsal, .channel = 0, .nonce = stamp.nonce},
       .arguments = program.traits.arguments,
       .environment = EnvironmentForRehearsal(program)});
  if (!process.ok()) {
    bool busy = ErrnoOf(process.status()) == ETXTBSY;
    return WithCode(process.status(), busy ? "E_TXTBSY" : "E_REHEARSAL");
  }
  auto status = process->Wait(program.options.rehearsal_deadline,
                              [&] { return attempt.ticket->cancelled(); });
  if (absl::IsCancelled(status.status())) return WithCode(status.status(), "E_CANCELLED");
  if (!status.ok()) {
    return Refusal("E_REHEARSAL", status.status().message().data(), process->output());
  }
  return Verdict(*status, recorder, process->output());
}

}  // namespace liveexec
