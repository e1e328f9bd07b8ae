// The process stays the one that it was.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "absl/strings/str_cat.h"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/clock.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/resp_client.h"
#include "tests/harness/snapshot.h"

namespace liveexec::e2e {
namespace {

using harness::Differences;
using harness::Endpoint;
using harness::RespClient;
using harness::Snapshot;
using harness::TakeSnapshot;
using ::testing::IsEmpty;

// Differences that are no surprise: the environment shrinks to the allow-list with the first exec,
// the kernel goes on showing the variable that announced the channel, and an upgraded program keeps
// the one before it open (O_PATH), to go back to.
std::vector<std::string> Unexpected(std::vector<std::string> differences) {
  const auto expected = [](const std::string& difference) {
    return difference.rfind("environment: -", 0) == 0 ||
           difference.rfind("environment: + LIVEEXEC_CHANNEL=", 0) == 0 ||
           difference == "fds: + file held by its path";
  };
  differences.erase(std::remove_if(differences.begin(), differences.end(), expected),
                    differences.end());
  return differences;
}

// A snapshot without the custodian, which ends in its own time after the commit: it returns the old
// program's memory. If it never does, the snapshot shows it.
Snapshot SettledSnapshot(DemoServer& server) {
  const int64_t deadline = harness::NowNs() + absl::ToInt64Nanoseconds(harness::kPatience);
  Snapshot snapshot = Must(TakeSnapshot(server.process().pid()));
  while (!snapshot.children.empty() && harness::NowNs() < deadline) {
    snapshot = Must(TakeSnapshot(server.process().pid()));
  }
  return snapshot;
}

class ProcessTest : public DemoServerTest, public ::testing::WithParamInterface<int> {};

TEST_P(ProcessTest, IsTheSameToTheKernelAfterTwentyUpgrades) {
  DemoServer& server =
      Start({.threads = GetParam(), .arguments = {"--unixsocket", "{dir}/socket"}});
  auto over_tcp = server.Client();
  auto over_unix = Must(RespClient::Open(Endpoint::Unix(server.process().File("socket"))));
  EXPECT_EQ(over_tcp->Call({"PING"}), "PONG");
  EXPECT_EQ(over_unix->Call({"PING"}), "PONG");
  // After two: what exec changes for good (an executable's path, a helper's first allocation) has
  // changed.
  server.Upgrade(2);
  EXPECT_EQ(over_tcp->Call({"PING"}), "PONG");
  EXPECT_EQ(over_unix->Call({"PING"}), "PONG");
  const Snapshot before = SettledSnapshot(server);
  server.Upgrade(18);
  EXPECT_EQ(over_tcp->Call({"PING"}), "PONG");
  EXPECT_EQ(over_unix->Call({"PING"}), "PONG");
  const Snapshot after = SettledSnapshot(server);
  EXPECT_THAT(Unexpected(Differences(before, after, {.memory_growth = 8 << 20})), IsEmpty());
}

TEST_P(ProcessTest, TheFirstUpgradeLeavesNoTraceOfItsOwn) {
  DemoServer& server = Start({.threads = GetParam()});
  auto client = server.Client();
  EXPECT_EQ(client->Call({"PING"}), "PONG");
  const Snapshot before = SettledSnapshot(server);
  server.UpgradeTo(Version::kV1);
  EXPECT_EQ(client->Call({"PING"}), "PONG");
  const Snapshot after = SettledSnapshot(server);
  EXPECT_THAT(Unexpected(Differences(before, after)), IsEmpty());
}

TEST_P(ProcessTest, EveryFdIsClosedOnExecExceptTheStandardOnes) {
  DemoServer& server =
      Start({.threads = GetParam(), .arguments = {"--unixsocket", "{dir}/socket"}});
  server.Upgrade(3);
  for (const harness::FdInfo& fd : Must(TakeSnapshot(server.process().pid())).fds) {
    if (fd.number > 2) {
      EXPECT_TRUE(fd.close_on_exec) << fd.number << " " << fd.kind << " " << fd.target;
    }
  }
}

TEST_P(ProcessTest, PendingConnectionsInTheBacklogAreServedAfterwards) {
  DemoServer& server = Start({.threads = GetParam()});
  // Stopped, the server accepts nothing: what connects now waits in the kernel's queue.
  ASSERT_THAT(server.process().Signal(SIGSTOP), IsOk());
  std::vector<std::unique_ptr<RespClient>> waiting;
  for (int i = 0; i < 50; ++i) {
    waiting.push_back(server.Client());
    ASSERT_THAT(waiting.back()->Send({"ECHO", absl::StrCat("client ", i)}), IsOk());
  }
  ASSERT_THAT(server.process().Signal(SIGHUP), IsOk());
  ASSERT_THAT(server.process().Signal(SIGCONT), IsOk());
  server.AwaitGeneration(1);
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(waiting[static_cast<size_t>(i)]->Receive(), absl::StrCat("client ", i));
}

TEST_P(ProcessTest, AStormOfUpgradeSignalsEndsInAServingProgram) {
  DemoServer& server = Start({.threads = GetParam()});
  auto client = server.Client();
  for (int i = 0; i < 500; ++i) {
    ASSERT_THAT(server.process().Signal(SIGHUP), IsOk());
    if (i % 50 == 0) {
      EXPECT_EQ(client->Call({"ECHO", absl::StrCat(i)}), absl::StrCat(i));
    }
  }
  EXPECT_THAT(server.process().WaitForLine("ready pid=[0-9]+ generation=1$"), IsOk());
  // Signals merge, so that nobody knows how many upgrades there were: until one by command, which
  // comes last.
  while (true) {
    const auto result = server.Liveexec("upgrade", {"--binary", BinaryOf(Version::kV2)});
    if (result.exit.ok()) break;
    ASSERT_THAT(result.output + result.errors, ::testing::HasSubstr("E_BUSY"));
  }
  EXPECT_EQ(client->Call({"ECHO", "after"}), "after");
  EXPECT_TRUE(server.process().running());
}

// What is closed of stdio would be the next fd of the event loop's.
TEST_P(ProcessTest, WithoutStdinItIsUpgradedAndEndsAsEver) {
  DemoServer& server = Start({.threads = GetParam(), .without_stdin = true});
  server.Upgrade(2);
  for (const harness::FdInfo& fd : Must(TakeSnapshot(server.process().pid())).fds) {
    if (fd.number == 0) {
      EXPECT_EQ(fd.target, "/dev/null");
    }
  }
  const auto exit = server.process().Stop(SIGTERM);
  ASSERT_THAT(exit, IsOk());
  EXPECT_TRUE(exit->ok()) << exit->ToString();
}

TEST_P(ProcessTest, ATerminationSignalEndsItCleanlyAlsoAfterUpgrades) {
  DemoServer& server =
      Start({.threads = GetParam(), .arguments = {"--unixsocket", "{dir}/socket"}});
  auto client = server.Client();
  EXPECT_EQ(client->Call({"PING"}), "PONG");
  server.Upgrade(2);
  const auto exit = server.process().Stop(SIGTERM);
  ASSERT_THAT(exit, IsOk());
  EXPECT_TRUE(exit->ok()) << exit->ToString();
  EXPECT_NE(access(server.process().File("socket").c_str(), F_OK), 0)
      << "the socket's file is left behind";
  EXPECT_NE(access(server.control().c_str(), F_OK), 0)
      << "the control socket's file is left behind";
}

TEST_P(ProcessTest, AUnixListenerSurvivesWithoutItsPathBeingUnlinked) {
  DemoServer& server =
      Start({.threads = GetParam(), .arguments = {"--unixsocket", "{dir}/socket"}});
  const std::string path = server.process().File("socket");
  auto old_client = Must(RespClient::Open(Endpoint::Unix(path)));
  EXPECT_EQ(old_client->Call({"SET", "k", "v"}), "OK");
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(stat(path.c_str(), &before), 0);
  server.Upgrade(3);
  ASSERT_EQ(stat(path.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
  EXPECT_EQ(old_client->Call({"GET", "k"}), "v");
  EXPECT_EQ(Must(RespClient::Open(Endpoint::Unix(path)))->Call({"GET", "k"}), "v");
}

INSTANTIATE_TEST_SUITE_P(OneAndFourThreads, ProcessTest, ::testing::Values(1, 4),
                         [](const auto& instance) {
                           return absl::StrCat(instance.param, "Threads");
                         });

}  // namespace
}  // namespace liveexec::e2e
