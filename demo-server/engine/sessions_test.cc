// What clients see of each other: transactions, subscriptions, waiting, being closed.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "demo-server/testing/engine_harness.h"

namespace liveexec::demo {
namespace {

class SessionsTest : public testing::Test {
 protected:
  EngineHarness server_{/*loops=*/2};
  TestClient alice_{server_};
  TestClient bob_{server_, /*loop=*/1};
};

TEST_F(SessionsTest, RunsATransactionAsAWhole) {
  EXPECT_EQ(alice_.Call("MULTI"), "+OK\r\n");
  EXPECT_EQ(alice_.Call("SET k 1"), "+QUEUED\r\n");
  EXPECT_EQ(bob_.Call("GET k"), "$-1\r\n");
  EXPECT_EQ(alice_.Call("INCR k"), "+QUEUED\r\n");
  EXPECT_EQ(alice_.Call("BLPOP nothing 0"), "+QUEUED\r\n");
  EXPECT_EQ(alice_.Call("EXEC"), "*3\r\n+OK\r\n:2\r\n*-1\r\n");
}

TEST_F(SessionsTest, AbortsATransactionAfterABadCommand) {
  alice_.Call("MULTI");
  EXPECT_EQ(alice_.Call("GET"), "-ERR wrong number of arguments for 'get' command\r\n");
  EXPECT_EQ(alice_.Call("EXEC"),
            "-EXECABORT Transaction discarded because of previous errors.\r\n");
  EXPECT_EQ(alice_.Call("EXEC"), "-ERR EXEC without MULTI\r\n");
}

TEST_F(SessionsTest, AWatchedKeyThatChangesAbortsTheTransaction) {
  for (const char* change : {"SET k 2", "DEL k", "FLUSHALL", "EXPIRE k 100", "RENAME k l",
                             "SWAPDB 0 1", "APPEND k x", "PEXPIREAT k 1"}) {
    bob_.Call("FLUSHALL");
    bob_.Call("SET k 1");
    alice_.Call("WATCH k");
    bob_.Call(change);
    alice_.Call("MULTI");
    alice_.Call("PING");
    EXPECT_EQ(alice_.Call("EXEC"), "*-1\r\n") << change;
  }
}

TEST_F(SessionsTest, AWatchedKeyThatIsReadDoesNotAbort) {
  bob_.Call("SET k 1");
  alice_.Call("WATCH k");
  bob_.Call("GET k");
  bob_.Call("SET other 1");
  alice_.Call("MULTI");
  alice_.Call("PING");
  EXPECT_EQ(alice_.Call("EXEC"), "*1\r\n+PONG\r\n");
}

TEST_F(SessionsTest, AWatchedKeyThatExpiresAborts) {
  bob_.Call("SET k 1");
  alice_.Call("WATCH k");
  {
    std::lock_guard lock(server_.engine().mutex());
    Database& database = server_.engine().keyspace().database(0);
    database.SetExpiry(database.Find("k"), 1);
  }
  alice_.Call("MULTI");
  alice_.Call("PING");
  EXPECT_EQ(alice_.Call("EXEC"), "*-1\r\n");
}

TEST_F(SessionsTest, DeliversMessagesThroughTheReceiversLoop) {
  EXPECT_EQ(bob_.Call("SUBSCRIBE news"), "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
  EXPECT_EQ(bob_.Call("PSUBSCRIBE n*"), "*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n");
  EXPECT_EQ(alice_.Call("PUBLISH news hi"), ":2\r\n");
  EXPECT_EQ(server_.woken, std::vector<int>{1});
  EXPECT_EQ(alice_.Call("PUBLISH news ho"), ":2\r\n");
  EXPECT_EQ(server_.woken, std::vector<int>{1}) << "woken again, though it has not come yet";
  EXPECT_EQ(bob_.Receive(),
            "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
            "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
            "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nho\r\n"
            "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nho\r\n");
}

TEST_F(SessionsTest, LeavesAllChannelsInTheOrderOfSubscription) {
  for (const char* kind : {"", "P", "S"}) {
    bob_.Call("RESET");
    bob_.Call("HELLO 3");
    std::string left;
    for (int i = 20; i > 0; --i) {
      const std::string name = "n" + std::to_string(i);
      bob_.Call(std::string(kind) + "SUBSCRIBE " + name);
      if (i % 3 != 0) left += name + " ";
    }
    for (int i = 18; i > 0; i -= 3) {
      bob_.Call(std::string(kind) + "UNSUBSCRIBE n" + std::to_string(i));
    }
    // One that is subscribed to again keeps its place.
    bob_.Call(std::string(kind) + "SUBSCRIBE n20");
    const std::string reply = bob_.Call(std::string(kind) + "UNSUBSCRIBE");
    std::string order;
    for (size_t at = reply.find("\nn"); at != std::string::npos; at = reply.find("\nn", at + 1)) {
      order += reply.substr(at + 1, reply.find('\r', at) - at - 1) + " ";
    }
    EXPECT_EQ(order, left) << kind << "UNSUBSCRIBE";
  }
}

TEST_F(SessionsTest, ASubscriberMayDoLittleInResp2AndEverythingInResp3) {
  bob_.Call("SUBSCRIBE a");
  EXPECT_EQ(bob_.Call("GET k"),
            "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
            "RESET are allowed in this context\r\n");
  EXPECT_EQ(bob_.Call("PING"), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
  alice_.Call("HELLO 3");
  EXPECT_EQ(alice_.Call("SUBSCRIBE a"), ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
  EXPECT_EQ(alice_.Call("GET k"), "_\r\n");
}

TEST_F(SessionsTest, ServesWaitingClientsInTheOrderInWhichTheyCame) {
  TestClient carol(server_);
  EXPECT_EQ(alice_.Call("BLPOP q 0"), "");
  EXPECT_EQ(bob_.Call("BRPOP other q 0"), "");
  EXPECT_EQ(carol.Call("RPUSH q 1 2 3"), ":3\r\n");
  EXPECT_EQ(alice_.Receive(), "*2\r\n$1\r\nq\r\n$1\r\n1\r\n");
  EXPECT_EQ(bob_.Receive(), "*2\r\n$1\r\nq\r\n$1\r\n3\r\n");
  EXPECT_EQ(carol.Call("LRANGE q 0 -1"), "*1\r\n$1\r\n2\r\n");
}

TEST_F(SessionsTest, ServesAChainOfMoves) {
  TestClient carol(server_);
  alice_.Call("BLMOVE a b LEFT LEFT 0");
  bob_.Call("BLMOVE b c LEFT LEFT 0");
  EXPECT_EQ(carol.Call("RPUSH a x"), ":1\r\n");
  EXPECT_EQ(alice_.Receive(), "$1\r\nx\r\n");
  EXPECT_EQ(bob_.Receive(), "$1\r\nx\r\n");
  EXPECT_EQ(carol.Call("LRANGE c 0 -1"), "*1\r\n$1\r\nx\r\n");
}

TEST_F(SessionsTest, AListAppearsToThoseWhoWaitHoweverItComes) {
  for (const char* way :
       {"RENAME l q", "COPY l q", "SORT l ALPHA STORE q", "LMOVE l q LEFT LEFT"}) {
    bob_.Call("FLUSHALL");
    bob_.Call("RPUSH l x");
    EXPECT_EQ(alice_.Call("BLPOP q 0"), "");
    bob_.Call(way);
    EXPECT_EQ(alice_.Receive(), "*2\r\n$1\r\nq\r\n$1\r\nx\r\n") << way;
  }
}

TEST_F(SessionsTest, AClientThatWaitsForAListIsNotServedFromAnotherType) {
  alice_.Call("BLPOP q 0");
  bob_.Call("SET q text");
  bob_.Call("DEL q");
  bob_.Call("ZADD q 1 m");
  EXPECT_EQ(alice_.Receive(), "");
  bob_.Call("DEL q");
  bob_.Call("RPUSH q x");
  EXPECT_EQ(alice_.Receive(), "*2\r\n$1\r\nq\r\n$1\r\nx\r\n");
}

TEST_F(SessionsTest, WhatComesBehindABlockingCommandRunsAfterIt) {
  EXPECT_EQ(alice_.Call("BLPOP q 0\r\nPING"), "");
  EXPECT_EQ(alice_.unread(), "PING\r\n");
  bob_.Call("RPUSH q x");
  EXPECT_EQ(alice_.Receive(), "*2\r\n$1\r\nq\r\n$1\r\nx\r\n+PONG\r\n");
  EXPECT_EQ(alice_.unread(), "");
}

TEST_F(SessionsTest, WaitingEndsAtItsDeadline) {
  EXPECT_EQ(alice_.Call("BLPOP q 0.01"), "");
  EXPECT_EQ(server_.deadlines_moved, 1);
  EXPECT_EQ(bob_.Call("BLPOP q 100"), "");
  EXPECT_EQ(server_.deadlines_moved, 1) << "a later deadline needs no earlier look";
  while (alice_.session.is_blocked()) EXPECT_LE(server_.engine().RunTimers(), 100);
  EXPECT_EQ(alice_.Receive(), "*-1\r\n");
  EXPECT_TRUE(bob_.session.is_blocked());
}

TEST_F(SessionsTest, AWaitingClientWhosePeerIsGoneIsNotServed) {
  alice_.Call("BLPOP q 0");
  EXPECT_TRUE(server_.engine().PeerEnded(alice_.session));
  EXPECT_EQ(bob_.Call("RPUSH q x"), ":1\r\n");
  EXPECT_EQ(bob_.Call("LLEN q"), ":1\r\n");
  EXPECT_EQ(alice_.Receive(), "");
}

TEST_F(SessionsTest, UnblocksAnotherClient) {
  alice_.Call("BLPOP q 0");
  EXPECT_EQ(bob_.Call("CLIENT UNBLOCK " + std::to_string(alice_.session.id) + " ERROR"), ":1\r\n");
  EXPECT_EQ(alice_.Receive(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
  EXPECT_EQ(bob_.Call("CLIENT UNBLOCK " + std::to_string(alice_.session.id)), ":0\r\n");
}

TEST_F(SessionsTest, KillsAnotherClient) {
  alice_.Call("SUBSCRIBE news");
  EXPECT_EQ(bob_.Call("CLIENT KILL ID " + std::to_string(alice_.session.id)), ":1\r\n");
  EXPECT_EQ(bob_.Call("PUBLISH news x"), ":0\r\n");
  const std::string list = bob_.Call("CLIENT LIST");
  EXPECT_EQ(std::count(list.begin(), list.end(), '\n'), 3) << "a killed client is in the list";
  EXPECT_EQ(alice_.Receive(), "");
  EXPECT_TRUE(alice_.last.close_now);
  EXPECT_EQ(alice_.Call("PING"), "") << "a killed client is served no more";
}

TEST_F(SessionsTest, SuppressesRepliesAsAsked) {
  EXPECT_EQ(alice_.Call("CLIENT REPLY SKIP\r\nPING\r\nPING"), "+PONG\r\n");
  EXPECT_EQ(alice_.Call("CLIENT REPLY OFF\r\nPING\r\nGET"), "");
  EXPECT_EQ(alice_.Call("CLIENT REPLY ON"), "+OK\r\n");
}

TEST_F(SessionsTest, ClosesAfterAProtocolErrorAndAfterQuit) {
  EXPECT_EQ(alice_.Call("*1\r\n$-1\r\nPING"), "-ERR Protocol error: invalid bulk length\r\n");
  EXPECT_TRUE(alice_.last.close_after_output);
  EXPECT_EQ(alice_.unread(), "");
  EXPECT_EQ(bob_.Call("QUIT\r\nPING"), "+OK\r\n");
  EXPECT_TRUE(bob_.last.close_after_output);
}

TEST_F(SessionsTest, ShowsTheCommandsOfAllToAMonitor) {
  EXPECT_EQ(bob_.Call("MONITOR"), "+OK\r\n");
  alice_.Call("SET k \"a\\n\"");
  const std::string line = bob_.Receive();
  EXPECT_NE(line.find("] \"SET\" \"k\" \"a\\n\"\r\n"), std::string::npos) << line;
}

TEST_F(SessionsTest, ResetMakesAConnectionAsNew) {
  alice_.Call("HELLO 3 SETNAME x");
  alice_.Call("SELECT 3");
  alice_.Call("SUBSCRIBE a");
  alice_.Call("WATCH k");
  alice_.Call("MULTI");
  EXPECT_EQ(alice_.Call("RESET"), "+RESET\r\n");
  EXPECT_EQ(alice_.Call("CLIENT GETNAME"), "$-1\r\n");
  EXPECT_EQ(alice_.Call("EXEC"), "-ERR EXEC without MULTI\r\n");
  EXPECT_EQ(bob_.Call("PUBLISH a x"), ":0\r\n");
  EXPECT_EQ(alice_.session.database, 0);
}

TEST_F(SessionsTest, ReturnedOutputGoesFirst) {
  bob_.Call("SUBSCRIBE a");
  alice_.Call("PUBLISH a 1");
  const std::string first = bob_.Receive();
  alice_.Call("PUBLISH a 2");
  server_.engine().ReturnOutput(bob_.session, first);
  EXPECT_EQ(bob_.Receive(), first + "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n2\r\n");
}

TEST_F(SessionsTest, AsksTheHostForUpgradesAndForTheEnd) {
  EXPECT_EQ(alice_.Call("LIVEEXEC UPGRADE /path"), "+Upgrade requested\r\n");
  alice_.Call("LIVEEXEC UPGRADE");
  EXPECT_EQ(server_.upgrades, (std::vector<std::string>{"/path", ""}));
  alice_.Call("SHUTDOWN NOSAVE");
  EXPECT_EQ(server_.shutdowns, 1);
}

TEST_F(SessionsTest, ErasesExpiredKeysByItself) {
  for (int i = 0; i < 1000; ++i) alice_.Call("PSETEX k" + std::to_string(i) + " 1 v");
  alice_.Call("SETEX stays 100 v");
  Database& database = server_.engine().keyspace().database(0);
  while (database.size() > 1) server_.engine().RunTimers();
  EXPECT_EQ(alice_.Call("GET stays"), "$1\r\nv\r\n");
}

}  // namespace
}  // namespace liveexec::demo
