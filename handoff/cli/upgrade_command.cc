#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>

#include "absl/strings/str_format.h"
#include "handoff/cli/commands.h"
#include "handoff/cli/json.h"
#include "handoff/cli/progress_display.h"
#include "handoff/cli/text.h"
#include "handoff/control_client.h"

namespace liveexec::cli {
namespace {

// The server has a working directory of its own. Symbolic links stay: it is for the server to
// follow them.
std::string Absolute(const std::string& path) {
  if (path.empty()) return path;
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.string();
}

}  // namespace

ExitCode RunUpgrade(const UpgradeArguments& arguments) {
  absl::StatusOr<ControlClient> client = ControlClient::Connect(arguments.control);
  if (!client.ok()) return Fail(client.status(), arguments.format);

  std::optional<ProgressDisplay> display;
  if (arguments.format == Format::kText) display.emplace(stdout, ProgressStyleFor(stdout));
  const ControlUpgrade upgrade = {Absolute(arguments.binary), arguments.max_blackout,
                                  arguments.allow_downgrade, arguments.sha256,
                                  arguments.to_previous};
  absl::StatusOr<JournalEntry> entry =
      client->Upgrade(upgrade, arguments.timeout, [&](const ControlProgress& progress) {
        if (display) display->Update(progress);
      });
  if (!entry.ok()) {
    display.reset();
    return Fail(entry.status(), arguments.format);
  }
  if (display) {
    display->Complete(*entry);
    display.reset();
    for (const std::string& note : entry->notes) absl::PrintF("note: %s\n", Printable(note));
    absl::PrintF("%s\n", SummaryText(*entry));
  } else {
    absl::PrintF("%s\n", Dump(ToJson(*entry)));
  }
  return ExitCodeOf(entry->outcome);
}

}  // namespace liveexec::cli
