#include "tests/harness/torture/upgrade_driver.h"

#include <poll.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/error.h"
#include "tests/harness/liveexec_journal.h"

namespace liveexec::harness {

pid_t UpgradeDriver::serving_pid() {
  if (options_.pid_file.empty()) return server_.pid();
  std::ifstream file(Filled(options_.pid_file, ""));
  pid_t pid = 0;
  file >> pid;
  return pid > 0 ? pid : server_.pid();
}

std::string UpgradeDriver::Filled(const std::string& text, const std::string& binary) {
  return absl::StrReplaceAll(text, {{"{dir}", server_.directory()},
                                    {"{port}", absl::StrCat(server_.port())},
                                    {"{binary}", binary}});
}

std::vector<std::string> UpgradeDriver::CommandFor(const std::string& binary) {
  if (options_.upgrade == "liveexec") {
    std::vector<std::string> command = {options_.liveexec, "upgrade", "--control",
                                        Filled(options_.control, "")};
    if (!binary.empty()) command.insert(command.end(), {"--binary", binary});
    return command;
  }
  const std::string text = absl::StrReplaceAll(Filled(options_.upgrade, binary),
                                               {{"{pid}", absl::StrCat(serving_pid())}});
  return {"/bin/sh", "-c", text};
}

absl::Status UpgradeDriver::RunUpgradeCommand(const std::string& binary) {
  LIVEEXEC_ASSIGN_OR_RETURN(const CommandResult result,
                            RunCommand(CommandFor(binary), absl::Seconds(options_.patience_s)));
  if (result.exit.ok()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("the upgrade command ended with ", result.exit.ToString(),
                                         ": ", result.output, result.errors));
}

absl::Status UpgradeDriver::Upgrade(const std::string& binary) {
  if (!options_.install_as.empty() && !binary.empty())
    LIVEEXEC_RETURN_IF_ERROR(server_.Install(binary, Filled(options_.install_as, "")));
  const ServerUnderTest::Mark mark = server_.OutputMark();
  if (options_.upgrade == "sighup") {
    if (kill(serving_pid(), SIGHUP) != 0) return ErrnoError(errno, "SIGHUP");
  } else {
    LIVEEXEC_RETURN_IF_ERROR(RunUpgradeCommand(binary));
  }
  if (!options_.done_line.empty()) {
    return server_.WaitForLine(options_.done_line, mark, absl::Seconds(options_.patience_s))
        .status();
  }
  // Nothing tells when it is done: so long it is given.
  if (options_.upgrade != "liveexec") poll(nullptr, 0, options_.settle_ms);
  return absl::OkStatus();
}

bool UpgradeDriver::AskAgain(const std::string& binary) {
  if (options_.upgrade != "sighup") return RunUpgradeCommand(binary).ok();
  kill(serving_pid(), SIGHUP);
  return false;
}

absl::Status UpgradeDriver::ExpectRefusal(const std::string& binary) {
  const absl::Status status = RunUpgradeCommand(binary);
  if (absl::IsAborted(status)) return absl::OkStatus();
  if (!status.ok()) return status;
  return absl::FailedPreconditionError(absl::StrCat("an upgrade to ", binary, " was not refused"));
}

void UpgradeDriver::ReadPhases(std::vector<UpgradeOutcome>& upgrades) {
  if (options_.upgrade != "liveexec" && options_.control.empty()) return;
  const auto journal = ReadJournal(options_.liveexec, Filled(options_.control, ""));
  if (!journal.ok()) return;
  for (UpgradeOutcome& upgrade : upgrades) AddPhases(*journal, upgrade);
}

}  // namespace liveexec::harness
