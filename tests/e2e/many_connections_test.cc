// Servers with more connections than cross one by one: idle ones are put aside ahead of the
// blackout (StreamServerOptions::cold_threshold).
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/client_swarm.h"

namespace liveexec::e2e {
namespace {

using ::testing::HasSubstr;

constexpr int kIdle = 2500;
constexpr int kChecking = 8;

class ManyConnectionsTest : public DemoServerTest, public ::testing::WithParamInterface<int> {};

TEST_P(ManyConnectionsTest, AllOfThemSurviveUpgradesWhileOthersWakeUpAtAnyMoment) {
  DemoServer& server = Start({.threads = GetParam()});
  harness::ClientSwarm swarm(server.endpoint(), harness::Protocol::kResp, harness::RunSeed());
  ASSERT_THAT(swarm.AddIdle(kIdle), IsOk());
  ASSERT_THAT(swarm.AddChecking(kChecking), IsOk());
  swarm.Start();
  ASSERT_THAT(swarm.AwaitReplies(3), IsOk());
  for (int upgrade = 0; upgrade < 4; ++upgrade) {
    server.Upgrade();
    // All at once, right after the blackout, or (every other time) only a while later.
    if (upgrade % 2 == 0) {
      ASSERT_THAT(swarm.ProveIdleAlive(), IsOk());
    }
    ASSERT_THAT(swarm.AwaitReplies(3), IsOk());
  }
  const harness::SwarmReport report = swarm.Finish();
  EXPECT_TRUE(report.ok()) << report.ToString();
  EXPECT_EQ(report.connections_kept, static_cast<uint64_t>(kIdle + kChecking));
}

TEST_P(ManyConnectionsTest, EachKeepsItsStateAndIsSeenByOthers) {
  DemoServer& server = Start({.threads = GetParam()});
  std::vector<std::unique_ptr<harness::RespClient>> clients;
  for (int i = 0; i < kIdle; ++i) {
    clients.push_back(server.Client());
    ASSERT_EQ(clients.back()->Call({"CLIENT", "SETNAME", absl::StrCat("client-", i)}), "OK");
  }
  ASSERT_EQ(clients[1]->Call({"SELECT", "3"}), "OK");
  ASSERT_THAT(clients[2]->Call({"SUBSCRIBE", "news"}), HasSubstr("news"));
  ASSERT_THAT(clients[3]->Send({"BLPOP", "queue", "0"}), IsOk());
  server.Upgrade();
  // Before all have come back.
  EXPECT_EQ(clients[0]->Call({"PUBLISH", "news", "x"}), "1");
  EXPECT_THAT(clients[0]->Call({"INFO", "clients"}),
              HasSubstr(absl::StrCat("connected_clients:", kIdle)));
  EXPECT_THAT(clients[2]->Receive(), HasSubstr("x"));
  EXPECT_EQ(clients[0]->Call({"RPUSH", "queue", "y"}), "1");
  EXPECT_THAT(clients[3]->Receive(), HasSubstr("y"));
  EXPECT_EQ(clients[1]->Call({"SET", "k", "three"}), "OK");
  EXPECT_EQ(clients[0]->Call({"EXISTS", "k"}), "0");
  for (int i = 4; i < kIdle; i += 97) {
    EXPECT_EQ(clients[i]->Call({"CLIENT", "GETNAME"}), absl::StrCat("client-", i));
  }
}

class ListedConnectionsTest : public ManyConnectionsTest {
 protected:
  void StartWithClients() {
    server_ = &Start({.threads = GetParam()});
    for (int i = 0; i < kIdle; ++i) clients_.push_back(server_->Client());
    for (auto& client : clients_) ids_.push_back(client->Call({"CLIENT", "ID"}));
    lister_ = server_->Client();
  }
  // What the server had before they came is what it has when they are gone.
  void TearDown() override {
    clients_.clear();
    lister_.reset();
    ManyConnectionsTest::TearDown();
  }
  static std::ptrdiff_t Lines(const std::string& list) {
    return std::count(list.begin(), list.end(), '\n');
  }

  DemoServer* server_ = nullptr;
  std::vector<std::unique_ptr<harness::RespClient>> clients_;
  std::vector<std::string> ids_;
  std::unique_ptr<harness::RespClient> lister_;
};

TEST_P(ListedConnectionsTest, AListOfAllShowsAllAtAnyMomentOfAnUpgrade) {
  StartWithClients();
  std::atomic<bool> done{false};
  std::vector<std::ptrdiff_t> wrong;
  std::thread listing([&] {
    while (!done) {
      for (const auto& command : std::vector<std::vector<std::string>>{
               {"CLIENT", "LIST"}, {"CLIENT", "LIST", "TYPE", "normal"}}) {
        const std::ptrdiff_t seen = Lines(lister_->Call(command));
        if (seen != kIdle + 1) wrong.push_back(seen);
      }
    }
  });
  server_->Upgrade(3);
  done = true;
  listing.join();
  EXPECT_THAT(wrong, ::testing::IsEmpty());
}

TEST_P(ListedConnectionsTest, AnyOfThemCanBeEndedRightAfterTheUpgrade) {
  StartWithClients();
  server_->Upgrade();
  // The last ones that came are on all loops; none has said anything since.
  for (int i = kIdle - 1; i >= kIdle - 5; --i) {
    EXPECT_EQ(lister_->Call({"CLIENT", "KILL", "ID", ids_[i]}), "1");
    EXPECT_THAT(clients_[i]->Receive(), HasSubstr("(connection)")) << ids_[i];
  }
  EXPECT_EQ(Lines(lister_->Call({"CLIENT", "LIST"})), kIdle + 1 - 5);
  EXPECT_EQ(clients_[0]->Call({"PING"}), "PONG");
}

TEST_P(ListedConnectionsTest, ATransactionFromBeforeTheUpgradeSeesAll) {
  StartWithClients();
  ASSERT_EQ(lister_->Call({"MULTI"}), "OK");
  ASSERT_EQ(lister_->Call({"CLIENT", "LIST"}), "QUEUED");
  server_->Upgrade();
  EXPECT_EQ(Lines(lister_->Call({"EXEC"})), kIdle + 1);
}

INSTANTIATE_TEST_SUITE_P(Threads, ManyConnectionsTest, ::testing::Values(1, 4));
INSTANTIATE_TEST_SUITE_P(Threads, ListedConnectionsTest, ::testing::Values(1, 4));

}  // namespace
}  // namespace liveexec::e2e
