#include "tests/faults/call_trace.h"

#include <cctype>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace liveexec::faults {

std::vector<TracedCall> ParseTrace(const std::vector<std::string>& lines) {
  std::vector<TracedCall> calls;
  for (const std::string& line : lines) {
    TracedCall traced;
    std::string_view rest = line;
    const size_t space = rest.find(' ');
    if (std::isdigit(static_cast<unsigned char>(rest[0])) && space != std::string_view::npos) {
      if (!absl::SimpleAtoi(line.substr(0, space), &traced.thread)) continue;
      rest.remove_prefix(rest.find_first_not_of(' ', space));
    }
    const size_t open = rest.find('(');
    if (open == std::string_view::npos || open == 0) continue;
    traced.call = std::string(rest.substr(0, open));
    if (traced.call.find_first_of(" <+-") != std::string::npos) continue;
    traced.line = std::string(rest);
    calls.push_back(std::move(traced));
  }
  return calls;
}

int OrdinalOf(const CallWanted& wanted, const FaultRunOptions& options) {
  FaultRun run(options);
  Tracer tracer(run.pid(), {"-e", absl::StrCat("trace=execveat,", wanted.call)},
                Tracer::kMainThread);
  const Seen seen = run.Upgrade(FaultRun::Program("v2"));
  const std::vector<TracedCall> calls = ParseTrace(tracer.Detach());
  if (seen.outcome != "B") throw std::runtime_error("a normal upgrade fails: " + seen.message);
  bool begun = wanted.after.empty();
  int ordinal = 0;
  for (const TracedCall& call : calls) {
    begun = begun || absl::StrContains(call.line, wanted.after);
    if (call.call != wanted.call) continue;
    ++ordinal;
    if (begun && absl::StrContains(call.line, wanted.text)) return ordinal;
  }
  throw std::runtime_error(absl::StrCat("no call ", wanted.call, " with ", wanted.text));
}

}  // namespace liveexec::faults
