#include "handoff/rehearsal_verdict.h"

#include <signal.h>
#include <sys/wait.h>

#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "handoff/error_code.h"
#include "handoff/rehearsal_candidate.h"

namespace liveexec {
namespace {

absl::Status Refusal(std::string_view code, std::string_view what, const std::string& output) {
  absl::string_view said = absl::StripAsciiWhitespace(output);
  std::string message = absl::StrCat("the candidate failed its rehearsal: ", std::string(what),
                                     "; correct it before it is tried again");
  // An answer is one sentence, on one line.
  if (!said.empty()) {
    absl::StrAppend(&message, "; it wrote: ", absl::StrReplaceAll(said, {{"\n", " "}}));
  }
  return CodedError(code, absl::StatusCode::kFailedPrecondition, message);
}

std::string DescribeSignal(int status) {
  const char* name = sigabbrev_np(WTERMSIG(status));
  return absl::StrCat("it died of SIG", name != nullptr ? name : absl::StrCat(WTERMSIG(status)));
}

}  // namespace

absl::Status RehearsalRefusal(const std::string& what, const std::string& output) {
  return Refusal("E_REHEARSAL", what, output);
}

absl::Status RehearsalVerdict(int status, FlightRecorder& recorder, const std::string& output) {
  FlightReport report = recorder.Report();
  if (recorder.record()->rehearsal_accepted == 1 && WIFEXITED(status) &&
      WEXITSTATUS(status) == kRehearsalAccepted) {
    return absl::OkStatus();
  }
  if (report.failure == FailureKind::kStatus) {
    bool own_code = report.code == "E_SCHEMA" || report.code == "E_APP" || report.code == "E_ABI" ||
                    report.code == "E_ADDRESS";
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

}  // namespace liveexec
