// The commands of `liveexec`. Each prints its answer, or its error, and returns the exit code.
#ifndef LIVEEXEC_HANDOFF_CLI_COMMANDS_H_
#define LIVEEXEC_HANDOFF_CLI_COMMANDS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "handoff/cli/exit_code.h"

namespace liveexec::cli {

enum class Format { kText, kJson };

struct UpgradeArguments {
  std::string control;
  std::string binary;                                  // empty: the server's default
  absl::Duration max_blackout = absl::ZeroDuration();  // zero: the server's budget
  absl::Duration timeout = absl::Seconds(60);
  bool allow_downgrade = false;
  std::string sha256;
  bool to_previous = false;  // `rollback`: the program before instead of `binary`
  Format format = Format::kText;
};
ExitCode RunUpgrade(const UpgradeArguments& arguments);

ExitCode RunStatus(const std::string& control, Format format);
ExitCode RunCancel(const std::string& control, Format format);
ExitCode RunDoctor(const std::string& control, Format format);
ExitCode RunHistory(const std::string& control, uint32_t limit, Format format);

// Prometheus's text format, for a collector that reads files or runs commands.
ExitCode RunMetrics(const std::string& control);

struct WatchArguments {
  UpgradeArguments upgrade;  // an empty binary: the server's default, as it is at the start
  // How long nothing may happen to the file before it counts as complete.
  absl::Duration settle = absl::Milliseconds(300);
  uint32_t count = 0;  // upgrades to ask for; 0: without end
};
// Upgrades whenever the file changes. The exit code is that of the last upgrade.
ExitCode RunWatch(const WatchArguments& arguments);

struct InspectArguments {
  std::string binary;
  std::string against;  // a binary to compare with; or
  std::string control;  // a server to compare with; or neither
  bool allow_downgrade = false;
  Format format = Format::kText;
};
ExitCode RunInspect(const InspectArguments& arguments);

// Prints one sentence and its code on stderr; as JSON, an object on stdout as well.
ExitCode Fail(const absl::Status& error, Format format);

// What --json prints for a wrong command line.
std::string UsageErrorJson(const std::string& message);

}  // namespace liveexec::cli

#endif  // LIVEEXEC_HANDOFF_CLI_COMMANDS_H_
