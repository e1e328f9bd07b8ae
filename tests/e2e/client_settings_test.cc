// What clients have set of themselves, and of the server, holds in the next program.
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/resp.h"

namespace liveexec::e2e {
namespace {

using ::testing::HasSubstr;

class ClientSettingsTest : public DemoServerTest, public ::testing::WithParamInterface<int> {
 protected:
  DemoServer& Start() { return DemoServerTest::Start({.threads = GetParam()}); }
};

TEST_P(ClientSettingsTest, AReaderIsToldOfAChangeThatComesAfterUpgrades) {
  DemoServer& server = Start();
  auto reader = server.Client();
  auto broadcast = server.Client();
  auto writer = server.Client();
  EXPECT_THAT(reader->Call({"HELLO", "3"}), HasSubstr("proto, 3"));
  EXPECT_EQ(reader->Call({"CLIENT", "TRACKING", "ON"}), "OK");
  EXPECT_EQ(reader->Call({"GET", "key"}), "(nil)");
  EXPECT_THAT(broadcast->Call({"HELLO", "3"}), HasSubstr("proto, 3"));
  EXPECT_EQ(broadcast->Call({"CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "k"}), "OK");
  server.Upgrade(6);  // through every version
  EXPECT_EQ(writer->Call({"SET", "key", "value"}), "OK");
  EXPECT_EQ(reader->Receive(), "push[invalidate, [key]]");
  EXPECT_EQ(broadcast->Receive(), "push[invalidate, [key]]");
}

TEST_P(ClientSettingsTest, APauseGoesOnAndItsEndReachesWhoWaits) {
  DemoServer& server = Start();
  auto pauser = server.Client();
  auto waiting = server.Client();
  EXPECT_EQ(pauser->Call({"CLIENT", "PAUSE", "100000000", "WRITE"}), "OK");
  ASSERT_THAT(waiting->Send({"SET", "key", "value"}), IsOk());
  while (pauser->Call({"INFO", "clients"}).find("blocked_clients:1") == std::string::npos) {
  }
  server.Upgrade(3);
  EXPECT_TRUE(waiting->Silent());
  EXPECT_EQ(pauser->Call({"GET", "key"}), "(nil)");
  EXPECT_EQ(pauser->Call({"CLIENT", "UNPAUSE"}), "OK");
  EXPECT_EQ(waiting->Receive(), "OK");
}

TEST_P(ClientSettingsTest, AStrangerStaysAStrangerAndAFriendAFriend) {
  DemoServer& server = Start();
  auto friendly = server.Client();
  EXPECT_EQ(friendly->Call({"CONFIG", "SET", "requirepass", "secret"}), "OK");
  auto stranger = server.Client();
  EXPECT_THAT(stranger->Call({"PING"}), HasSubstr("NOAUTH"));
  server.Upgrade(3);
  EXPECT_EQ(friendly->Call({"PING"}), "PONG");
  EXPECT_THAT(stranger->Call({"PING"}), HasSubstr("NOAUTH"));
  EXPECT_EQ(stranger->Call({"AUTH", "secret"}), "OK");
  server.Upgrade();
  EXPECT_EQ(stranger->Call({"PING"}), "PONG");
  EXPECT_EQ(friendly->Call({"CONFIG", "SET", "requirepass", ""}), "OK");
}

TEST_P(ClientSettingsTest, AReaderThatNeverReadsIsBoundedByTheLimitAfterAnUpgradeToo) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_EQ(client->Call({"CONFIG", "SET", "client-output-buffer-limit", "normal 8mb 0 0"}), "OK");
  EXPECT_EQ(client->Call({"SETRANGE", "large", absl::StrCat((1 << 20) - 1), "x"}), "1048576");
  server.Upgrade();
  auto never_reads = server.Client();
  EXPECT_EQ(never_reads->Call({"CLIENT", "SETNAME", "never_reads"}), "OK");
  // The kernel's buffers take some of it.
  for (int i = 0; i < 64; ++i) {
    if (!never_reads->Send({"GET", "large"}).ok()) break;
  }
  while (client->Call({"CLIENT", "LIST"}).find("name=never_reads") != std::string::npos) {
  }
  EXPECT_EQ(client->Call({"PING"}), "PONG");
}

INSTANTIATE_TEST_SUITE_P(OneAndFourThreads, ClientSettingsTest, ::testing::Values(1, 4),
                         [](const auto& instance) {
                           return absl::StrCat(instance.param, "Threads");
                         });

}  // namespace
}  // namespace liveexec::e2e
