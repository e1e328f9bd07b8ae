// CONFIG.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

void Get(Call& call) {
  const std::vector<std::string_view> patterns(call.arguments().begin() + 2,
                                               call.arguments().end());
  auto found = call.engine().config().Matching(patterns);
  // A name that is no pattern comes back as it was written.
  for (auto& [name, value] : found) {
    for (std::string_view pattern : patterns) {
      if (IsWord(pattern, name)) name = std::string(pattern);
    }
  }
  call.reply().Map(found.size());
  for (const auto& [name, value] : found) {
    call.reply().Bulk(name);
    call.reply().Bulk(value);
  }
}

void Set(Call& call) {
  if (call.size() % 2 != 0) return call.ArityError();
  Config& config = call.engine().config();
  std::vector<std::string> values;
  for (size_t i = 2; i < call.size(); i += 2) {
    bool known = false;
    std::string value(call[i + 1]);
    std::string error;
    for (const auto& [name, current] : config.Matching({call[i]})) {
      if (!IsWord(call[i], name)) continue;
      known = true;
      error = NormalizeParameter(name, current, value);
    }
    for (size_t before = 2; before < i && error.empty(); before += 2) {
      if (IsWord(call[i], absl::AsciiStrToLower(std::string(call[before])))) {
        error = "duplicate parameter";
      }
    }
    values.push_back(value);
    if (!known) {
      return call.reply().Error("ERR Unknown option or number of arguments for CONFIG SET - '" +
                                std::string(call[i]) + "'");
    }
    if (!error.empty()) {
      return call.reply().Error("ERR CONFIG SET failed (possibly related to argument '" +
                                std::string(call[i]) + "') - " + error);
    }
  }
  for (size_t i = 2; i < call.size(); i += 2) config.Set(call[i], values[i / 2 - 1]);
  call.engine().ApplyConfig();
  call.reply().Ok();
}

void ResetStat(Call& call) {
  Statistics& statistics = call.engine().statistics();
  const int64_t started = statistics.started_ms;
  const uint64_t changes = statistics.changes;
  statistics = Statistics();
  statistics.started_ms = started;
  statistics.changes = changes;
  std::fill(call.engine().calls().begin(), call.engine().calls().end(), 0);
  call.reply().Ok();
}

void Rewrite(Call& call) { call.reply().Error("ERR The server is running without a config file"); }

void Help(Call& call) {
  constexpr std::string_view kLines[] = {
      "CONFIG GET <pattern> ...: parameters and their values.",
      "CONFIG SET <name> <value> ...: changes parameters.",
      "CONFIG RESETSTAT: sets the statistics of INFO to zero.",
  };
  call.reply().Array(std::size(kLines));
  for (std::string_view line : kLines) call.reply().Simple(line);
}

constexpr Command kCommands[] = {
    {"config", -2, kContainer, 0, 0, 0, Group::kServer, nullptr, "Parameters"},
    {"config|get", -3, kAdmin, 0, 0, 0, Group::kServer, Get, "Values of parameters"},
    {"config|set", -4, kAdmin, 0, 0, 0, Group::kServer, Set, "Change parameters"},
    {"config|resetstat", 2, kAdmin, 0, 0, 0, Group::kServer, ResetStat, "Reset the statistics"},
    {"config|rewrite", 2, kAdmin, 0, 0, 0, Group::kServer, Rewrite, "Write the config file"},
    {"config|help", 2, 0, 0, 0, 0, Group::kServer, Help, "Help"},
};

}  // namespace

absl::Span<const Command> ConfigCommands() { return kCommands; }

}  // namespace liveexec::demo
