#include "tests/harness/liveexec_journal.h"

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "nlohmann/json.hpp"
#include "tests/harness/child_process.h"

namespace liveexec::harness {

namespace {

using Json = nlohmann::json;

int64_t Nanoseconds(const Json& object, const char* key) {
  return static_cast<int64_t>(object.value(key, 0.0) * 1e6);
}

JournalledUpgrade FromJson(const Json& entry) {
  JournalledUpgrade upgrade{.outcome = entry.value("outcome", ""),
                            .pid = static_cast<pid_t>(entry.value("pid", 0)),
                            .blackout_ns = Nanoseconds(entry, "blackout_ms")};
  for (const Json& phase : entry.value("phases", Json::array())) {
    upgrade.phases.push_back({phase.value("phase", ""), phase.value("start_ns", int64_t{0}),
                              Nanoseconds(phase, "duration_ms")});
  }
  return upgrade;
}

}  // namespace

absl::StatusOr<std::vector<JournalledUpgrade>> ReadJournal(const std::string& liveexec,
                                                           const std::string& control) {
  LIVEEXEC_ASSIGN_OR_RETURN(
      const CommandResult result,
      RunCommand({liveexec, "history", "--control", control, "--json"}, absl::Seconds(60)));
  const Json document = Json::parse(result.output, nullptr, false);
  const Json entries = document.is_object() ? document.value("history", Json()) : document;
  if (!result.exit.ok() || !entries.is_array())
    return absl::DataLossError(absl::StrCat("liveexec history: ", result.output, result.errors));
  std::vector<JournalledUpgrade> journal;
  for (const Json& entry : entries) {
    if (entry.is_object()) journal.push_back(FromJson(entry));
  }
  return journal;
}

void AddPhases(const std::vector<JournalledUpgrade>& journal, UpgradeSpan& upgrade) {
  for (const JournalledUpgrade& entry : journal) {
    if (entry.phases.empty() || entry.outcome != "committed") continue;
    const int64_t start = entry.phases.front().start_ns;
    if (start >= upgrade.asked_ns && start <= upgrade.done_ns) upgrade.phases = entry.phases;
  }
}

}  // namespace liveexec::harness
