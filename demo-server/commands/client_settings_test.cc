// What one client sets and others feel: pauses, tracking, passwords, limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <string>

#include "demo-server/testing/engine_harness.h"

namespace liveexec::demo {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ClientSettingsTest : public ::testing::Test {
 protected:
  EngineHarness server_;
  TestClient alice_{server_};
  TestClient bob_{server_};
};

TEST_F(ClientSettingsTest, APauseOfAllHoldsBackEveryCommandUntilItsEnd) {
  EXPECT_EQ(alice_.Call("CLIENT PAUSE 100000000"), "+OK\r\n");
  EXPECT_EQ(bob_.Call("PING"), "");
  EXPECT_EQ(alice_.Call("CLIENT UNPAUSE"), "") << "it waits as well";
  server_.engine().Unpause();
  EXPECT_EQ(bob_.Receive(), "+PONG\r\n");
  EXPECT_EQ(alice_.Receive(), "+OK\r\n");
}

TEST_F(ClientSettingsTest, APauseOfWritesLetsReadsThrough) {
  EXPECT_EQ(alice_.Call("CLIENT PAUSE 100000000 WRITE"), "+OK\r\n");
  EXPECT_EQ(bob_.Call("GET k"), "$-1\r\n");
  EXPECT_THAT(bob_.Call("SET k"), StartsWith("-ERR wrong number of arguments"));
  EXPECT_EQ(bob_.Call("MULTI"), "+OK\r\n");
  EXPECT_EQ(bob_.Call("SET k v"), "");
  EXPECT_THAT(alice_.Call("INFO clients"), HasSubstr("blocked_clients:1\r\n"));
  EXPECT_EQ(alice_.Call("CLIENT UNPAUSE"), "+OK\r\n");
  EXPECT_EQ(bob_.Receive(), "+QUEUED\r\n");
  EXPECT_EQ(bob_.Call("EXEC"), "*1\r\n+OK\r\n");
}

TEST_F(ClientSettingsTest, NothingExpiresWhileWritesArePaused) {
  EXPECT_EQ(alice_.Call("SET k v PX 1"), "+OK\r\n");
  EXPECT_EQ(alice_.Call("CLIENT PAUSE 100000000 WRITE"), "+OK\r\n");
  while (bob_.Call("GET k") != "$-1\r\n") {
  }
  EXPECT_EQ(bob_.Call("DBSIZE"), ":1\r\n");
  EXPECT_EQ(bob_.Call("RANDOMKEY"), "$1\r\nk\r\n");
  EXPECT_EQ(alice_.Call("CLIENT UNPAUSE"), "+OK\r\n");
  EXPECT_EQ(bob_.Call("GET k"), "$-1\r\n");
  EXPECT_EQ(bob_.Call("DBSIZE"), ":0\r\n");
}

TEST_F(ClientSettingsTest, AReaderIsToldOnceThatItsKeyHasChanged) {
  alice_.Call("HELLO 3");
  EXPECT_EQ(alice_.Call("CLIENT TRACKING ON"), "+OK\r\n");
  EXPECT_EQ(alice_.Call("GET k"), "_\r\n");
  EXPECT_EQ(bob_.Call("SET k 1"), "+OK\r\n");
  EXPECT_EQ(bob_.Call("SET k 2"), "+OK\r\n");
  EXPECT_EQ(alice_.Receive(), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
  // Its own change is told after the reply.
  EXPECT_EQ(alice_.Call("MGET k"), "*1\r\n$1\r\n2\r\n");
  EXPECT_EQ(alice_.Call("DEL k"), ":1\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
  EXPECT_EQ(bob_.Call("FLUSHALL"), "+OK\r\n");
  EXPECT_EQ(alice_.Receive(), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
}

TEST_F(ClientSettingsTest, OptInTracksOnlyWhatCachingAnnounces) {
  alice_.Call("HELLO 3");
  alice_.Call("CLIENT TRACKING ON OPTIN NOLOOP");
  alice_.Call("GET unannounced");
  EXPECT_EQ(alice_.Call("CLIENT CACHING YES"), "+OK\r\n");
  alice_.Call("GET announced");
  alice_.Call("GET unannounced");
  bob_.Call("MSET unannounced 1 announced 1");
  EXPECT_EQ(alice_.Receive(), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$9\r\nannounced\r\n");
}

TEST_F(ClientSettingsTest, BroadcastTellsOfAllKeysWithThePrefixAtOnce) {
  alice_.Call("HELLO 3");
  EXPECT_EQ(alice_.Call("CLIENT TRACKING ON BCAST PREFIX a NOLOOP"), "+OK\r\n");
  bob_.Call("MSET a1 1 a2 1 b1 1");
  EXPECT_EQ(alice_.Receive(), ">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\na1\r\n$2\r\na2\r\n");
  EXPECT_EQ(alice_.Call("SET a3 1"), "+OK\r\n");
  EXPECT_EQ(alice_.Receive(), "");
}

TEST_F(ClientSettingsTest, ARedirectionReachesASubscriberInTheOldProtocol) {
  bob_.Call("SUBSCRIBE __redis__:invalidate");
  alice_.Call("CLIENT TRACKING ON REDIRECT " + std::to_string(bob_.session.id));
  alice_.Call("GET k");
  alice_.Call("SET k v");
  EXPECT_EQ(bob_.Receive(),
            "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n");
}

TEST_F(ClientSettingsTest, AStrangerMayDoNothingWithoutThePassword) {
  EXPECT_EQ(alice_.Call("CONFIG SET requirepass secret"), "+OK\r\n");
  EXPECT_EQ(alice_.Call("PING"), "+PONG\r\n") << "it was here before";
  TestClient carol(server_);
  EXPECT_EQ(carol.Call("GET k"), "-NOAUTH Authentication required.\r\n");
  EXPECT_THAT(carol.Call("HELLO 3"), StartsWith("-NOAUTH HELLO must be called"));
  EXPECT_THAT(carol.Call("AUTH wrong"), StartsWith("-WRONGPASS"));
  EXPECT_EQ(carol.Call("AUTH secret"), "+OK\r\n");
  EXPECT_EQ(carol.Call("GET k"), "$-1\r\n");
  TestClient dave(server_);
  EXPECT_EQ(dave.Send("*11\r\n"), "-ERR Protocol error: unauthenticated multibulk length\r\n");
}

TEST_F(ClientSettingsTest, CommandsThatNeedMemoryFailWhenThereIsNone) {
  if (mallinfo2().uordblks == 0) GTEST_SKIP() << "a sanitizer's malloc does not say what is used";
  alice_.Call("SET kept v");
  EXPECT_EQ(alice_.Call("CONFIG SET maxmemory 1"), "+OK\r\n");
  EXPECT_THAT(bob_.Call("SET k v"), StartsWith("-OOM command not allowed"));
  EXPECT_EQ(bob_.Call("GET kept"), "$1\r\nv\r\n");
  EXPECT_EQ(bob_.Call("MULTI"), "+OK\r\n");
  EXPECT_THAT(bob_.Call("SET k v"), StartsWith("-OOM"));
  EXPECT_THAT(bob_.Call("EXEC"), StartsWith("-EXECABORT"));
  EXPECT_EQ(alice_.Call("CONFIG SET maxmemory-policy allkeys-random"), "+OK\r\n");
  EXPECT_THAT(bob_.Call("SET k v"), StartsWith("-OOM")) << "one byte is never enough";
  EXPECT_EQ(bob_.Call("DBSIZE"), ":0\r\n") << "but all was evicted to make room";
}

TEST_F(ClientSettingsTest, MoreOutputThanTheLimitEndsAConnection) {
  EXPECT_FALSE(server_.engine().ExceedsOutputLimit(bob_.session, size_t{1} << 40));
  alice_.Call("CONFIG SET client-output-buffer-limit \"normal 1mb 0 0 pubsub 1kb 0 0\"");
  EXPECT_FALSE(server_.engine().ExceedsOutputLimit(bob_.session, 1 << 20));
  EXPECT_TRUE(server_.engine().ExceedsOutputLimit(bob_.session, (1 << 20) + 1));
  bob_.Call("SUBSCRIBE c");
  EXPECT_TRUE(server_.engine().ExceedsOutputLimit(bob_.session, 1025));
}

TEST_F(ClientSettingsTest, SwappingInAKeyThatHasExpiredChangesNothingThatIsWatched) {
  alice_.Call("DEBUG SET-ACTIVE-EXPIRE 0");
  bob_.Call("SELECT 1");
  bob_.Call("SET k v PX 1");
  alice_.Call("WATCH k");
  while (bob_.Call("KEYS k") != "*0\r\n") {
  }
  bob_.Call("SWAPDB 0 1");
  alice_.Call("MULTI");
  alice_.Call("PING");
  EXPECT_EQ(alice_.Call("EXEC"), "*1\r\n+PONG\r\n");
}

TEST_F(ClientSettingsTest, ABrowserIsCutOff) {
  alice_.Send("POST / HTTP/1.1\r\nHost: here\r\n\r\nFLUSHALL\r\n");
  EXPECT_TRUE(alice_.last.close_now);
}

}  // namespace
}  // namespace liveexec::demo
