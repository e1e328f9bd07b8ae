#include "tests/harness/testing.h"

#include <unistd.h>

#include "absl/strings/str_join.h"

namespace liveexec::harness {

void ServerTest::SetUp() { before_ = Must(TakeSnapshot(getpid())); }

void ServerTest::TearDown() {
  if (HasFailure()) {
    for (const auto& server : servers_) server->KeepLog();
  }
  servers_.clear();
  const Snapshot after = Must(TakeSnapshot(getpid()));
  std::vector<std::string> leaks;
  for (const std::string& difference : Differences(before_, after)) {
    if (difference.rfind("fds", 0) == 0 || difference.rfind("child", 0) == 0)
      leaks.push_back(difference);
  }
  EXPECT_TRUE(leaks.empty()) << "the test program leaks:\n  " << absl::StrJoin(leaks, "\n  ");
}

ServerUnderTest& ServerTest::StartServer(const ServerOptions& options) {
  servers_.push_back(Must(ServerUnderTest::Start(options)));
  return *servers_.back();
}

}  // namespace liveexec::harness
