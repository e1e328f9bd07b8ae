// UpgradeDriver: asks a server for an upgrade, by the means that the options name, and knows when
// it is done.
//
// Owned and used by one thread, except AskAgain, which may come from a second one meanwhile.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_UPGRADE_DRIVER_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_UPGRADE_DRIVER_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/harness/server_under_test.h"
#include "tests/harness/torture/options.h"
#include "tests/harness/torture/result.h"

namespace liveexec::harness {

class UpgradeDriver {
 public:
  // All borrowed.
  UpgradeDriver(const TortureOptions& options, ServerUnderTest& server)
      : options_(options), server_(server) {}

  // Returns when it is done. Aborted: the server, or the command, refused it. DeadlineExceeded.
  absl::Status Upgrade(const std::string& binary);
  // A second request, beside the first. Whether it was done: then the first may have been refused
  // because of it.
  bool AskAgain(const std::string& binary);
  // Asks for an upgrade to a program that must be refused. An error when it was not.
  absl::Status ExpectRefusal(const std::string& binary);

  // The process that serves now.
  pid_t serving_pid();

  // Fills in the phases of `upgrades` from the server's own journal; does nothing when it has none.
  void ReadPhases(std::vector<UpgradeOutcome>& upgrades);

  // `text` with {dir}, {port} and {binary} replaced.
  std::string Filled(const std::string& text, const std::string& binary);

 private:
  std::vector<std::string> CommandFor(const std::string& binary);
  absl::Status RunUpgradeCommand(const std::string& binary);

  const TortureOptions& options_;
  ServerUnderTest& server_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_UPGRADE_DRIVER_H_
