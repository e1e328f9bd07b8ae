// All of a connection's state survives an upgrade.
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/clock.h"
#include "tests/harness/random.h"
#include "tests/harness/resp.h"

namespace liveexec::e2e {
namespace {

using harness::PositionCodedBytes;
using harness::RespCommand;
using ::testing::HasSubstr;

class ConnectionStateTest : public DemoServerTest {};

TEST_F(ConnectionStateTest, ACommandThatIsCutAnywhereIsAnsweredOnce) {
  DemoServer& server = Start();
  const std::string command = RespCommand({"INCR", "counter"});
  int expected = 0;
  // Every fifth cut, to keep it short; the load tests cut everywhere.
  for (size_t cut = 1; cut < command.size(); cut += 5) {
    auto client = server.Client();
    ASSERT_THAT(client->SendRaw(command.substr(0, cut)), IsOk());
    server.UpgradeBySignal();
    EXPECT_TRUE(client->Silent());
    ASSERT_THAT(client->SendRaw(command.substr(cut)), IsOk());
    EXPECT_EQ(client->Receive(), absl::StrCat(++expected)) << "cut at " << cut;
  }
}

TEST_F(ConnectionStateTest, AnInlineCommandThatIsCutIsAnswered) {
  DemoServer& server = Start();
  auto client = server.Client();
  ASSERT_THAT(client->SendRaw("PI"), IsOk());
  server.Upgrade();
  ASSERT_THAT(client->SendRaw("NG\r\n"), IsOk());
  EXPECT_EQ(client->Receive(), "PONG");
}

TEST_F(ConnectionStateTest, ALargeHalfSentValueArrivesWhole) {
  DemoServer& server = Start();
  auto client = server.Client();
  const std::string value = PositionCodedBytes(1, 0, 5 << 20);
  const std::string command = RespCommand({"SET", "large", value});
  const size_t third = command.size() / 3;
  ASSERT_THAT(client->SendRaw(command.substr(0, third)), IsOk());
  server.Upgrade();
  ASSERT_THAT(client->SendRaw(command.substr(third, third)), IsOk());
  server.Upgrade();
  ASSERT_THAT(client->SendRaw(command.substr(2 * third)), IsOk());
  EXPECT_EQ(client->Receive(), "OK");
  EXPECT_TRUE(client->Call({"GET", "large"}) == value);
}

TEST_F(ConnectionStateTest, QueuedCommandsOfATransactionAreExecutedAfterwards) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_EQ(client->Call({"MULTI"}), "OK");
  EXPECT_EQ(client->Call({"SET", "a", "1"}), "QUEUED");
  EXPECT_EQ(client->Call({"INCR", "a"}), "QUEUED");
  server.Upgrade();
  EXPECT_EQ(client->Call({"GET", "a"}), "QUEUED");
  EXPECT_EQ(server.Client()->Call({"EXISTS", "a"}), "0");
  server.Upgrade();
  EXPECT_EQ(client->Call({"EXEC"}), "[OK, 2, 2]");
}

TEST_F(ConnectionStateTest, ATransactionWithABadCommandStaysRefused) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_EQ(client->Call({"MULTI"}), "OK");
  EXPECT_THAT(client->Call({"NONSENSE"}), HasSubstr("unknown command"));
  server.Upgrade();
  EXPECT_THAT(client->Call({"EXEC"}), HasSubstr("EXECABORT"));
  EXPECT_EQ(client->Call({"PING"}), "PONG");
}

TEST_F(ConnectionStateTest, DiscardForgetsWhatWasQueuedBeforeTheUpgrade) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_EQ(client->Call({"MULTI"}), "OK");
  EXPECT_EQ(client->Call({"SET", "a", "1"}), "QUEUED");
  server.Upgrade();
  EXPECT_EQ(client->Call({"DISCARD"}), "OK");
  EXPECT_EQ(client->Call({"EXISTS", "a"}), "0");
}

TEST_F(ConnectionStateTest, AWatchedKeyThatChangedBeforeTheUpgradeAborts) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_EQ(client->Call({"WATCH", "k"}), "OK");
  EXPECT_EQ(server.Client()->Call({"SET", "k", "other"}), "OK");
  server.Upgrade();
  EXPECT_EQ(client->Call({"MULTI"}), "OK");
  EXPECT_EQ(client->Call({"SET", "k", "mine"}), "QUEUED");
  EXPECT_EQ(client->Call({"EXEC"}), "(nil)");
  EXPECT_EQ(client->Call({"GET", "k"}), "other");
}

TEST_F(ConnectionStateTest, AWatchedKeyThatChangesAfterTheUpgradeAborts) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_EQ(client->Call({"SET", "k", "old"}), "OK");
  EXPECT_EQ(client->Call({"WATCH", "k", "missing"}), "OK");
  EXPECT_EQ(client->Call({"MULTI"}), "OK");
  EXPECT_EQ(client->Call({"SET", "k", "mine"}), "QUEUED");
  server.Upgrade();
  EXPECT_EQ(server.Client()->Call({"SET", "missing", "other"}), "OK");
  EXPECT_EQ(client->Call({"EXEC"}), "(nil)");
  EXPECT_EQ(client->Call({"GET", "k"}), "old");
}

TEST_F(ConnectionStateTest, AWatchedKeyThatStaysAsItWasDoesNotAbort) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_EQ(client->Call({"SET", "k", "old"}), "OK");
  EXPECT_EQ(client->Call({"WATCH", "k"}), "OK");
  server.Upgrade();
  EXPECT_EQ(client->Call({"MULTI"}), "OK");
  EXPECT_EQ(client->Call({"SET", "k", "mine"}), "QUEUED");
  server.Upgrade();
  EXPECT_EQ(client->Call({"EXEC"}), "[OK]");
  EXPECT_EQ(client->Call({"GET", "k"}), "mine");
}

TEST_F(ConnectionStateTest, SubscriptionsGetTheirMessagesOverTenUpgrades) {
  DemoServer& server = Start();
  auto subscriber = server.Client();
  auto publisher = server.Client();
  EXPECT_EQ(subscriber->Call({"SUBSCRIBE", "news"}), "[subscribe, news, 1]");
  EXPECT_EQ(subscriber->Call({"PSUBSCRIBE", "we*"}), "[psubscribe, we*, 2]");
  for (int i = 0; i < 10; ++i) {
    server.Upgrade();
    EXPECT_EQ(publisher->Call({"PUBLISH", "news", absl::StrCat(i)}), "1");
    EXPECT_EQ(publisher->Call({"PUBLISH", "weather", absl::StrCat(i)}), "1");
    EXPECT_EQ(publisher->Call({"PUBLISH", "sports", absl::StrCat(i)}), "0");
    EXPECT_EQ(subscriber->Receive(), absl::StrCat("[message, news, ", i, "]"));
    EXPECT_EQ(subscriber->Receive(), absl::StrCat("[pmessage, we*, weather, ", i, "]"));
  }
  EXPECT_THAT(subscriber->Call({"GET", "x"}), HasSubstr("Can't execute 'get'"));
  EXPECT_EQ(subscriber->Call({"UNSUBSCRIBE"}), "[unsubscribe, news, 1]");
  EXPECT_EQ(subscriber->Call({"PUNSUBSCRIBE"}), "[punsubscribe, we*, 0]");
  EXPECT_EQ(subscriber->Call({"PING"}), "PONG");
}

TEST_F(ConnectionStateTest, ABlockedPopIsServedAfterTenUpgrades) {
  DemoServer& server = Start();
  auto blocked = server.Client();
  ASSERT_THAT(blocked->Send({"BLPOP", "empty", "list", "0"}), IsOk());
  server.Upgrade(10);
  EXPECT_TRUE(blocked->Silent());
  EXPECT_EQ(server.Client()->Call({"RPUSH", "list", "x", "y"}), "2");
  EXPECT_EQ(blocked->Receive(), "[list, x]");
  EXPECT_EQ(server.Client()->Call({"LRANGE", "list", "0", "-1"}), "[y]");
}

TEST_F(ConnectionStateTest, BlockedClientsAreServedInTheOrderInWhichTheyCame) {
  DemoServer& server = Start();
  auto first = server.Client();
  auto second = server.Client();
  auto admin = server.Client();
  ASSERT_THAT(first->Send({"BLPOP", "list", "0"}), IsOk());
  // Its command has been taken when the server counts it as blocked.
  while (admin->Call({"INFO", "clients"}).find("blocked_clients:1") == std::string::npos) {
  }
  ASSERT_THAT(second->Send({"BRPOP", "list", "0"}), IsOk());
  while (admin->Call({"INFO", "clients"}).find("blocked_clients:2") == std::string::npos) {
  }
  server.Upgrade(2);
  EXPECT_EQ(admin->Call({"RPUSH", "list", "a"}), "1");
  EXPECT_EQ(first->Receive(), "[list, a]");
  EXPECT_TRUE(second->Silent());
  EXPECT_EQ(admin->Call({"RPUSH", "list", "b"}), "1");
  EXPECT_EQ(second->Receive(), "[list, b]");
}

TEST_F(ConnectionStateTest, ABlockedPopTimesOutAtTheMomentThatItWasToldBefore) {
  DemoServer& server = Start();
  auto blocked = server.Client();
  const int64_t start = harness::NowNs();
  ASSERT_THAT(blocked->Send({"BLPOP", "list", "2"}), IsOk());
  server.Upgrade(2);
  EXPECT_EQ(blocked->Receive(), "(nil)");
  const double seconds = static_cast<double>(harness::NowNs() - start) / 1e9;
  EXPECT_GE(seconds, 1.95);  // not shortened
  EXPECT_LT(seconds, 3.9);   // nor begun anew at the upgrade; wide, for a busy machine
}

TEST_F(ConnectionStateTest, APipelineBehindABlockedPopIsAnsweredInOrder) {
  DemoServer& server = Start();
  auto blocked = server.Client();
  ASSERT_THAT(
      blocked->SendRaw(RespCommand({"BLPOP", "list", "0"}) + RespCommand({"ECHO", "later"})),
      IsOk());
  server.Upgrade();
  EXPECT_TRUE(blocked->Silent());
  EXPECT_EQ(server.Client()->Call({"LPUSH", "list", "x"}), "1");
  EXPECT_EQ(blocked->Receive(), "[list, x]");
  EXPECT_EQ(blocked->Receive(), "later");
}

TEST_F(ConnectionStateTest, NameAndDatabaseAreKept) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_EQ(client->Call({"CLIENT", "SETNAME", "alice"}), "OK");
  EXPECT_EQ(client->Call({"SELECT", "7"}), "OK");
  EXPECT_EQ(client->Call({"SET", "k", "seven"}), "OK");
  const std::string id = client->Call({"CLIENT", "ID"});
  server.Upgrade(3);
  EXPECT_EQ(client->Call({"CLIENT", "GETNAME"}), "alice");
  EXPECT_EQ(client->Call({"GET", "k"}), "seven");
  EXPECT_EQ(client->Call({"CLIENT", "ID"}), id);
  EXPECT_EQ(server.Client()->Call({"GET", "k"}), "(nil)");  // in database 0
}

TEST_F(ConnectionStateTest, TheProtocolVersionIsKept) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_THAT(client->Call({"HELLO", "3"}), HasSubstr("proto, 3"));
  EXPECT_EQ(client->Call({"HSET", "h", "f", "v"}), "1");
  server.Upgrade(3);
  const harness::RespValue reply = [&] {
    EXPECT_THAT(client->Send({"HGETALL", "h"}), IsOk());
    return Must(client->ReceiveValue());
  }();
  EXPECT_EQ(reply.kind, harness::RespValue::Kind::kMap);
  EXPECT_EQ(client->Call({"SUBSCRIBE", "c"}), "push[subscribe, c, 1]");
  server.Upgrade();
  EXPECT_EQ(client->Call({"PING"}), "PONG");  // allowed beside a subscription, in RESP3
}

TEST_F(ConnectionStateTest, ClosedAndNewConnectionsAreToldApart) {
  DemoServer& server = Start();
  auto stays = server.Client();
  for (int i = 0; i < 5; ++i) {
    auto leaves = server.Client();
    EXPECT_EQ(leaves->Call({"PING"}), "PONG");
    auto waits = server.Client();
    ASSERT_THAT(waits->Send({"BLPOP", "never", "0"}), IsOk());
    server.Upgrade();
    leaves.reset();
    waits.reset();
    EXPECT_EQ(server.Client()->Call({"PING"}), "PONG");
    EXPECT_EQ(stays->Call({"PING"}), "PONG");
  }
  EXPECT_EQ(stays->Call({"LPUSH", "never", "x"}), "1");  // nobody is left to take it
  EXPECT_EQ(stays->Call({"LLEN", "never"}), "1");
}

TEST_F(ConnectionStateTest, AHalfClosedClientGetsTheRepliesThatItIsOwed) {
  DemoServer& server = Start();
  auto client = server.Client();
  ASSERT_THAT(client->SendRaw(RespCommand({"ECHO", "one"}) + RespCommand({"ECHO", "two"})), IsOk());
  client->FinishSending();
  EXPECT_EQ(client->Receive(), "one");
  server.Upgrade();
  EXPECT_EQ(client->Receive(), "two");
  EXPECT_THAT(client->Receive(), HasSubstr("closed the connection"));
}

}  // namespace
}  // namespace liveexec::e2e
