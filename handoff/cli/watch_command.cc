#include <cstdio>
#include <string>

#include "absl/strings/str_format.h"
#include "handoff/cli/commands.h"
#include "handoff/cli/file_watch.h"
#include "handoff/cli/json.h"
#include "handoff/cli/text.h"
#include "handoff/control_client.h"

namespace liveexec::cli {
namespace {

absl::StatusOr<ControlStatus> AskStatus(const std::string& control) {
  absl::StatusOr<ControlClient> client = ControlClient::Connect(control);
  if (!client.ok()) return client.status();
  return client->Status();
}

void SayThatItWatches(const std::string& path, const ControlStatus& status, Format format) {
  if (format == Format::kJson) {
    absl::PrintF("%s\n", Dump({{"watching", path}, {"server", ToJson(status)}}));
  } else {
    absl::PrintF("watching %s for %s %s, pid %d\n", Printable(path),
                 Printable(status.program.application), Printable(status.program.version),
                 status.pid);
  }
  fflush(stdout);
}

}  // namespace

ExitCode RunWatch(const WatchArguments& arguments) {
  UpgradeArguments upgrade = arguments.upgrade;
  if (upgrade.binary.empty()) {
    absl::StatusOr<ControlStatus> status = AskStatus(upgrade.control);
    if (!status.ok()) return Fail(status.status(), upgrade.format);
    upgrade.binary = status->upgrade_binary;
  }
  absl::StatusOr<FileWatch> watch = FileWatch::Create(upgrade.binary);
  if (!watch.ok()) return Fail(watch.status(), upgrade.format);
  // After the watch has begun: whoever reads the line may change the file.
  absl::StatusOr<ControlStatus> status = AskStatus(upgrade.control);
  if (!status.ok()) return Fail(status.status(), upgrade.format);
  SayThatItWatches(upgrade.binary, *status, upgrade.format);

  ExitCode last = kExitOk;
  for (uint32_t done = 0; arguments.count == 0 || done < arguments.count; ++done) {
    absl::Status changed = watch->AwaitChange(arguments.settle);
    if (!changed.ok()) return Fail(changed, upgrade.format);
    last = RunUpgrade(upgrade);
    fflush(stdout);
    // A refusal may be about this build only; a server that is gone is the end.
    if (last == kExitRefused && !AskStatus(upgrade.control).ok()) return last;
  }
  return last;
}

}  // namespace liveexec::cli
