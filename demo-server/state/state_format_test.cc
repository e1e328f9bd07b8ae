#include "demo-server/state/state_format.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "demo-server/state/bytes.h"
#include "demo-server/state/v2.capnp.h"
#include "demo-server/testing/engine_harness.h"

namespace liveexec::demo {
namespace {

const StateFormat& Format(int version) {
  return version == 0 ? StateFormatV0() : version == 1 ? StateFormatV1() : StateFormatV2();
}

// A server's state written by one program and read by another one.
class Crossing {
 public:
  Crossing(int writer, int reader) : writer_(Format(writer)), reader_(Format(reader)) {}

  absl::Status Keyspace(EngineHarness& from, EngineHarness& to) {
    capnp::MallocMessageBuilder message;
    writer_.WriteKeyspace(
        from.engine(), [] { return false; }, message.initRoot<capnp::AnyPointer>());
    return reader_.ReadKeyspace(message.getRoot<capnp::AnyPointer>().asReader(), to.engine());
  }
  std::unique_ptr<TestClient> Client(const TestClient& from, EngineHarness& to) {
    capnp::MallocMessageBuilder message;
    writer_.WriteSession(from.session, message.initRoot<capnp::AnyPointer>());
    auto client = std::make_unique<TestClient>(to, TestClient::Unopened());
    const absl::Status status = reader_.ReadSession(message.getRoot<capnp::AnyPointer>().asReader(),
                                                    to.engine(), client->session);
    EXPECT_TRUE(status.ok()) << status.ToString();
    client->Adopt();
    return client;
  }

 private:
  const StateFormat& writer_;
  const StateFormat& reader_;
};

class EveryCrossing : public testing::TestWithParam<std::tuple<int, int>> {
 protected:
  EngineHarness old_{1, /*seed=*/1};
  EngineHarness new_{1, /*seed=*/2};
  Crossing crossing_{std::get<0>(GetParam()), std::get<1>(GetParam())};
};

TEST_P(EveryCrossing, KeepsEveryTypeOfValue) {
  TestClient writer(old_);
  writer.Send(Encode({"SET", std::string("bin\0key", 7), std::string("\0\r\n\xff", 4)}));
  writer.Call("SET empty \"\"");
  writer.Call("SET volatile v PXAT 99999999999999");
  writer.Call("RPUSH list a b \"\" a");
  writer.Call("SADD set x y 1 2");
  writer.Call("SADD ints 3 1 2");
  writer.Call("ZADD zset 1.5 a -inf b inf c 1.5 d");
  writer.Call("HSET hash f v g w");
  writer.Call("SELECT 15");
  writer.Call("SET there 1");
  writer.Call("CONFIG SET maxmemory-policy allkeys-lfu");
  ASSERT_TRUE(crossing_.Keyspace(old_, new_).ok());
  TestClient reader(new_);
  TestClient again(old_);
  for (const char* command : {"GET empty", "PEXPIRETIME volatile", "LRANGE list 0 -1",
                              "SMEMBERS set", "SMEMBERS ints", "ZRANGE zset 0 -1 WITHSCORES",
                              "HGETALL hash", "DBSIZE", "KEYS *", "CONFIG GET maxmemory-policy"}) {
    EXPECT_EQ(reader.Call(command), again.Call(command)) << command;
  }
  EXPECT_EQ(reader.Send(Encode({"GET", std::string("bin\0key", 7)})),
            std::string("$4\r\n\0\r\n\xff\r\n", 10));
  reader.Call("SELECT 15");
  EXPECT_EQ(reader.Call("GET there"), "$1\r\n1\r\n");
}

// Takes one step of SCAN, adds the keys to `seen`, and returns the next cursor.
std::string ScanStep(TestClient& client, const std::string& cursor,
                     std::multiset<std::string>& seen) {
  std::istringstream reply(client.Call("SCAN " + cursor + " COUNT 50"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(reply, line);)
    lines.push_back(line.substr(0, line.size() - 1));
  for (const std::string& line : lines) {
    if (line[0] == 'k') seen.insert(line);
  }
  return lines[2];
}

TEST_P(EveryCrossing, KeepsTheMeaningOfScanCursors) {
  TestClient writer(old_);
  for (int i = 0; i < 300; ++i) writer.Call("SET k" + std::to_string(i) + " v");
  std::multiset<std::string> seen;
  std::string cursor = ScanStep(writer, "0", seen);
  cursor = ScanStep(writer, cursor, seen);
  ASSERT_TRUE(crossing_.Keyspace(old_, new_).ok());
  TestClient reader(new_);
  while (cursor != "0") cursor = ScanStep(reader, cursor, seen);
  EXPECT_EQ(seen.size(), 300u);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(seen.count("k" + std::to_string(i)), 1u) << i;
}

TEST_P(EveryCrossing, KeepsASession) {
  TestClient alice(old_);
  TestClient bob(old_);
  alice.Call("HELLO 3 SETNAME al");
  alice.Call("SELECT 7");
  alice.Call("CLIENT NO-EVICT ON");
  ASSERT_TRUE(crossing_.Keyspace(old_, new_).ok());
  auto carried = crossing_.Client(alice, new_);
  EXPECT_EQ(carried->session.id, alice.session.id);
  EXPECT_EQ(carried->Call("CLIENT GETNAME"), "$2\r\nal\r\n");
  EXPECT_EQ(carried->session.database, 7);
  EXPECT_TRUE(carried->session.no_evict);
  EXPECT_EQ(carried->Call("GET nothing"), "_\r\n");
  TestClient next(new_);
  EXPECT_EQ(next.session.id, bob.session.id + 1) << "numbers are not used again";
}

TEST_P(EveryCrossing, KeepsTransactionsAndWhatTheyWatch) {
  TestClient queueing(old_);
  TestClient watching(old_);
  TestClient outdated(old_);
  queueing.Call("MULTI");
  queueing.Call("SET k 1");
  queueing.Call("INCR k");
  watching.Call("WATCH w");
  outdated.Call("WATCH o");
  queueing.Call("PING");
  TestClient(old_).Call("SET o 1");
  ASSERT_TRUE(crossing_.Keyspace(old_, new_).ok());
  auto new_queueing = crossing_.Client(queueing, new_);
  auto new_watching = crossing_.Client(watching, new_);
  auto new_outdated = crossing_.Client(outdated, new_);
  EXPECT_EQ(new_queueing->Call("EXEC"), "*3\r\n+OK\r\n:2\r\n+PONG\r\n");
  new_watching->Call("MULTI");
  new_queueing->Call("SET w 1");
  EXPECT_EQ(new_watching->Call("EXEC"), "*-1\r\n");
  new_outdated->Call("MULTI");
  EXPECT_EQ(new_outdated->Call("EXEC"), "*-1\r\n");
}

TEST_P(EveryCrossing, KeepsARefusedTransactionRefused) {
  TestClient client(old_);
  client.Call("MULTI");
  client.Call("NOSUCHCOMMAND");
  EXPECT_EQ(crossing_.Client(client, new_)->Call("EXEC"),
            "-EXECABORT Transaction discarded because of previous errors.\r\n");
}

TEST_P(EveryCrossing, KeepsSubscriptionsAndMessagesNotYetSent) {
  TestClient subscriber(old_);
  subscriber.Call("SUBSCRIBE c");
  subscriber.Call("PSUBSCRIBE p*");
  subscriber.Call("SSUBSCRIBE s");
  TestClient(old_).Call("PUBLISH c early");
  auto carried = crossing_.Client(subscriber, new_);
  TestClient publisher(new_);
  EXPECT_EQ(publisher.Call("PUBLISH c late"), ":1\r\n");
  EXPECT_EQ(publisher.Call("PUBLISH pat late"), ":1\r\n");
  EXPECT_EQ(publisher.Call("SPUBLISH s late"), ":1\r\n");
  const std::string received = carried->Receive();
  EXPECT_LT(received.find("early"), received.find("late"));
  EXPECT_NE(received.find("pmessage"), std::string::npos);
  EXPECT_NE(received.find("smessage"), std::string::npos);
}

TEST_P(EveryCrossing, KeepsTheOrderOfSubscriptions) {
  TestClient subscriber(old_);
  std::string expected;
  for (int i = 0; i < 8; ++i) {
    const std::string pattern = std::to_string(i * 7 % 8) + "*";
    subscriber.Call("PSUBSCRIBE " + pattern);
    expected +=
        "*3\r\n$12\r\npunsubscribe\r\n$2\r\n" + pattern + "\r\n:" + std::to_string(7 - i) + "\r\n";
  }
  EXPECT_EQ(crossing_.Client(subscriber, new_)->Call("PUNSUBSCRIBE"), expected);
}

TEST_P(EveryCrossing, KeepsWhoWaitsForWhatAndWhoCameFirst) {
  TestClient first(old_);
  TestClient second(old_);
  TestClient mover(old_);
  TestClient scores(old_);
  first.Call("BLPOP q 0");
  second.Call("BLPOP q 0");
  mover.Call("BLMOVE from to LEFT RIGHT 0");
  scores.Call("BZMPOP 0 1 z MAX COUNT 2");
  // Read in another order than that in which they came.
  auto new_second = crossing_.Client(second, new_);
  auto new_scores = crossing_.Client(scores, new_);
  auto new_mover = crossing_.Client(mover, new_);
  auto new_first = crossing_.Client(first, new_);
  TestClient pusher(new_);
  pusher.Call("RPUSH q x");
  pusher.Call("RPUSH q y");
  pusher.Call("RPUSH from e");
  pusher.Call("ZADD z 1 a 2 b 3 c");
  EXPECT_EQ(new_first->Receive(), "*2\r\n$1\r\nq\r\n$1\r\nx\r\n");
  EXPECT_EQ(new_second->Receive(), "*2\r\n$1\r\nq\r\n$1\r\ny\r\n");
  EXPECT_EQ(new_mover->Receive(), "$1\r\ne\r\n");
  EXPECT_EQ(pusher.Call("LRANGE to 0 -1"), "*1\r\n$1\r\ne\r\n");
  EXPECT_EQ(new_scores->Receive(),
            "*2\r\n$1\r\nz\r\n*2\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
}

TEST_P(EveryCrossing, KeepsADeadline) {
  TestClient client(old_);
  client.Call("BLPOP q 0.02");
  const int64_t deadline = client.session.blocked.deadline_ms;
  auto carried = crossing_.Client(client, new_);
  EXPECT_EQ(carried->session.blocked.deadline_ms, deadline);
  while (carried->session.is_blocked()) new_.engine().RunTimers();
  EXPECT_GE(Engine::MonotonicMs(), deadline);
  EXPECT_EQ(carried->Receive(), "*-1\r\n");
}

TEST_P(EveryCrossing, KeepsReplyModeMonitorAndClosing) {
  TestClient silent(old_);
  TestClient monitor(old_);
  TestClient killed(old_);
  silent.Call("CLIENT REPLY OFF");
  monitor.Call("MONITOR");
  TestClient(old_).Call("CLIENT KILL ID " + std::to_string(killed.session.id));
  auto new_silent = crossing_.Client(silent, new_);
  auto new_monitor = crossing_.Client(monitor, new_);
  auto new_killed = crossing_.Client(killed, new_);
  EXPECT_EQ(new_silent->Call("PING"), "");
  EXPECT_NE(new_monitor->Receive().find("\"PING\""), std::string::npos);
  new_killed->Receive();
  EXPECT_TRUE(new_killed->last.close_now);
}

INSTANTIATE_TEST_SUITE_P(Versions, EveryCrossing,
                         testing::Combine(testing::Values(0, 1, 2), testing::Values(0, 1, 2)));

TEST(StateFormat, EachVersionKeepsWhatItKnows) {
  for (int version : {0, 1, 2}) {
    EngineHarness old_server;
    EngineHarness new_server;
    TestClient client(old_server);
    client.Call("SET k v");
    client.Call("GET k");
    client.Call("CLIENT SETINFO LIB-NAME lib");
    Crossing crossing(version, version);
    ASSERT_TRUE(crossing.Keyspace(old_server, new_server).ok());
    auto carried = crossing.Client(client, new_server);
    const Statistics& statistics = new_server.engine().statistics();
    EXPECT_EQ(statistics.commands, 3u) << version;
    EXPECT_EQ(statistics.hits, version >= 1 ? 1u : 0u) << version;
    EXPECT_EQ(carried->session.library_name, version >= 1 ? "lib" : "") << version;
    EXPECT_EQ(carried->session.commands, version >= 2 ? 3u : 0u) << version;
    const Entry* entry = new_server.engine().keyspace().database(0).Find("k");
    EXPECT_EQ(entry->accesses, version >= 2 ? 1u : 0u) << version;
  }
}

TEST(StateFormat, LeavesOutTheRestOfTheKeysWhenTold) {
  EngineHarness old_server;
  EngineHarness new_server;
  TestClient client(old_server);
  for (int i = 0; i < 100; ++i) client.Call("SET k" + std::to_string(i) + " v");
  capnp::MallocMessageBuilder message;
  int asked = 0;
  StateFormatV1().WriteKeyspace(
      // Asked once before the first key.
      old_server.engine(), [&] { return ++asked > 11; }, message.initRoot<capnp::AnyPointer>());
  ASSERT_TRUE(
      StateFormatV1()
          .ReadKeyspace(message.getRoot<capnp::AnyPointer>().asReader(), new_server.engine())
          .ok());
  EXPECT_EQ(new_server.engine().keyspace().database(0).size(), 10u);
}

// ---- What no program of ours writes.

class ImpossibleState : public testing::Test {
 protected:
  absl::Status ReadKeyspace() {
    return StateFormatV2().ReadKeyspace(message_->getRoot<capnp::AnyPointer>().asReader(),
                                        server_.engine());
  }
  absl::Status ReadSession() {
    TestClient client(server_, TestClient::Unopened());
    return StateFormatV2().ReadSession(message_->getRoot<capnp::AnyPointer>().asReader(),
                                       server_.engine(), client.session);
  }
  v2::Key::Builder OneKey() {
    auto databases = message_->initRoot<v2::KeyspaceImage>().initDatabases(1);
    return databases[0].initChunks(1)[0].initKeys(1)[0];
  }
  v2::SessionImage::Builder OneSession() {
    auto session = message_->initRoot<v2::SessionImage>();
    session.setId(1);
    return session;
  }

  EngineHarness server_;
  // By pointer: its destructor may throw, and a test's may not.
  const std::unique_ptr<capnp::MallocMessageBuilder> message_ =
      std::make_unique<capnp::MallocMessageBuilder>();
};

TEST_F(ImpossibleState, TooManyDatabasesAreRefused) {
  message_->initRoot<v2::KeyspaceImage>().initDatabases(17);
  EXPECT_EQ(ReadKeyspace().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ImpossibleState, AKeyThatIsThereTwiceIsRefused) {
  auto databases = message_->initRoot<v2::KeyspaceImage>().initDatabases(1);
  for (auto key : databases[0].initChunks(1)[0].initKeys(2)) key.setName(ToData("k"));
  EXPECT_EQ(ReadKeyspace().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ImpossibleState, AnEmptyListIsRefused) {
  OneKey().getValue().initList(0);
  EXPECT_EQ(ReadKeyspace().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ImpossibleState, AScoreThatIsNoNumberIsRefused) {
  OneKey().getValue().initSortedSet(1)[0].setScore(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(ReadKeyspace().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ImpossibleState, SessionsWithImpossibleNumbersAreRefused) {
  OneSession();
  EXPECT_TRUE(ReadSession().ok());
  OneSession().setId(0);
  EXPECT_EQ(ReadSession().code(), absl::StatusCode::kDataLoss);
  OneSession().setDatabase(16);
  EXPECT_EQ(ReadSession().code(), absl::StatusCode::kDataLoss);
  OneSession().setProtocol(4);
  EXPECT_EQ(ReadSession().code(), absl::StatusCode::kDataLoss);
  OneSession().setReplyMode(9);
  EXPECT_EQ(ReadSession().code(), absl::StatusCode::kDataLoss);
  OneSession().initWatched(1)[0].setDatabase(99);
  EXPECT_EQ(ReadSession().code(), absl::StatusCode::kDataLoss);
  OneSession().initTransaction().initCommands(1);
  EXPECT_EQ(ReadSession().code(), absl::StatusCode::kDataLoss);
  OneSession().initBlocked().setOperation(77);
  EXPECT_EQ(ReadSession().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ImpossibleState, ASessionWhoseNumberIsTakenIsRefused) {
  TestClient other(server_);
  OneSession().setId(other.session.id);
  EXPECT_EQ(ReadSession().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace liveexec::demo
