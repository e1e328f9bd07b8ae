#include "demo-server/keyspace_copy.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <fcntl.h>
#include <gtest/gtest.h>

#include <ctime>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "demo-server/pending_keys.h"
#include "demo-server/testing/engine_harness.h"
#include "demo-server/testing/random_commands.h"

namespace liveexec::demo {
namespace {

constexpr int64_t kForever = std::numeric_limits<int64_t>::max();

int64_t Soon() {
  constexpr int64_t kSoonNs = 20'000;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec + kSoonNs;
}

// Every key of a server, each as the bytes of its record. v0 has no statistics of accesses.
using Content = std::map<std::pair<int, std::string>, std::string>;

Content ContentOf(EngineHarness& server) {
  Content content;
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    for (const Entry* entry : server.engine().keyspace().database(i).entries()) {
      capnp::MallocMessageBuilder message;
      StateFormatV0().WriteKey(*entry, message.initRoot<capnp::AnyPointer>());
      const auto words = capnp::messageToFlatArray(message);
      content[{i, std::string(entry->key())}] =
          std::string(reinterpret_cast<const char*>(words.begin()), words.asBytes().size());
    }
  }
  return content;
}

// What KeyspaceComponent does in the new program.
class Arrival final : public KeysAhead {
 public:
  Arrival(EngineHarness& server, const StateFormat& format, const KeyspaceCopy& copy)
      : server_(server), format_(format), copy_(copy) {}

  bool Save(int, capnp::AnyPointer::Builder) const override { return false; }
  absl::Status Load(int database, capnp::AnyPointer::Reader image) override {
    UniqueFd escrow(fcntl(copy_.escrow_fd(database), F_DUPFD_CLOEXEC, 3));
    auto opened = PendingKeys::Open(server_.engine(), format_, std::move(escrow),
                                    image.getAs<image::BulkSet>());
    if (!opened.ok()) return opened.status();
    server_.engine().keyspace().database(database).set_pending(opened->get());
    pending_.push_back(*std::move(opened));
    return absl::OkStatus();
  }
  size_t databases() const { return pending_.size(); }

 private:
  EngineHarness& server_;
  const StateFormat& format_;
  const KeyspaceCopy& copy_;
  std::vector<std::unique_ptr<PendingKeys>> pending_;
};

class KeyspaceCopyTest : public testing::Test {
 protected:
  void StartCopy(size_t threshold = 0) {
    copy_ = std::make_unique<KeyspaceCopy>(old_.engine(), format_, threshold);
  }
  void CopyAll() {
    StartCopy();
    auto more = copy_->Step(kForever);
    ASSERT_TRUE(more.ok()) << more.status();
    ASSERT_FALSE(*more);
  }
  void Cross() {
    const absl::Status finished = copy_->Finish();
    ASSERT_TRUE(finished.ok()) << finished;
    capnp::MallocMessageBuilder message;
    format_.WriteKeyspace(
        old_.engine(), [] { return false; }, copy_.get(), message.initRoot<capnp::AnyPointer>());
    arrival_ = std::make_unique<Arrival>(new_, format_, *copy_);
    const absl::Status read = format_.ReadKeyspace(message.getRoot<capnp::AnyPointer>().asReader(),
                                                   new_.engine(), arrival_.get());
    ASSERT_TRUE(read.ok()) << read;
  }
  void Fill(int keys) {
    for (int i = 0; i < keys; ++i) client_.Call("SET k" + std::to_string(i) + " v");
  }
  PendingEntries* pending(int database = 0) {
    return new_.engine().keyspace().database(database).pending();
  }
  void LoadAll() {
    for (int i = 0; i < Keyspace::kDatabases; ++i) {
      while (pending(i) != nullptr && pending(i)->size() > 0) {
        pending(i)->LoadSome(new_.engine().keyspace().database(i));
      }
    }
  }

  const StateFormat& format_ = StateFormatV2();
  EngineHarness old_{1, /*seed=*/1};
  EngineHarness new_{1, /*seed=*/2};
  TestClient client_{old_};
  TestClient reader_{new_};
  std::unique_ptr<KeyspaceCopy> copy_;
  std::unique_ptr<Arrival> arrival_;
};

TEST(RandomCommandsTest, MakeEveryCommandThatWrites) {
  EngineHarness server;
  const std::vector<std::string> names = RandomCommands::Names();
  const std::set<std::string> made(names.begin(), names.end());
  for (const Command* command : server.engine().table().all()) {
    if ((command->flags & kWrite) == 0) continue;
    EXPECT_EQ(made.count(std::string(command->name)), 1u) << command->name;
  }
}

// The heart of it: a key whose change is missed is a lost write.
class RandomCopyTest : public KeyspaceCopyTest, public testing::WithParamInterface<int> {};

TEST_P(RandomCopyTest, CarriesWhatRandomCommandsMadeMeanwhile) {
  RandomCommands commands(static_cast<uint64_t>(GetParam()));
  auto run = [&](size_t count) {
    for (size_t i = 0; i < count; ++i) {
      // A transaction's pops do not wait.
      client_.Call("MULTI");
      client_.Send(Encode(commands.Next()));
      client_.Call("EXEC");
      if (commands.Number(50) == 0) {
        client_.Call("SELECT " + std::to_string(commands.Number(3)));
      }
      if (commands.Number(100) == 0) old_.engine().RunTimers();
    }
  };
  run(3000);
  StartCopy();
  bool more = true;
  while (more) {
    auto stepped = copy_->Step(Soon());
    ASSERT_TRUE(stepped.ok()) << stepped.status();
    more = *stepped;
    run(commands.Number(10));
  }
  run(200);
  TestClient(old_).Call("SELECT 0");
  ASSERT_TRUE(copy_->has_copy());
  ASSERT_NO_FATAL_FAILURE(Cross());
  LoadAll();
  const Content expected = ContentOf(old_);
  const Content found = ContentOf(new_);
  for (const auto& [name, record] : expected) {
    const auto key = found.find(name);
    ASSERT_NE(key, found.end()) << "lost: database " << name.first << " " << name.second;
    EXPECT_EQ(key->second, record) << "database " << name.first << " " << name.second;
  }
  EXPECT_EQ(found.size(), expected.size());
  EXPECT_EQ(new_.engine().statistics().lost_keys, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomCopyTest, testing::Range(1, 25));

TEST_F(KeyspaceCopyTest, ASmallKeySpaceIsLeftToTheImage) {
  Fill(100);
  StartCopy(1 << 20);
  auto more = copy_->Step(kForever);
  ASSERT_TRUE(more.ok());
  EXPECT_FALSE(*more);
  EXPECT_FALSE(copy_->has_copy());
  EXPECT_EQ(old_.engine().keyspace().database(0).watch(), nullptr);
}

TEST_F(KeyspaceCopyTest, NothingWatchesOnceItIsAbandoned) {
  Fill(100);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  EXPECT_NE(old_.engine().keyspace().database(0).watch(), nullptr);
  copy_.reset();
  EXPECT_EQ(old_.engine().keyspace().database(0).watch(), nullptr);
  EXPECT_EQ(client_.Call("SET k1 w"), "+OK\r\n");
  EXPECT_EQ(client_.Call("GET k1"), "$1\r\nw\r\n");
}

TEST_F(KeyspaceCopyTest, AKeyIsLoadedWhenItIsAskedFor) {
  Fill(1000);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  client_.Call("SET k7 changed");
  client_.Call("DEL k8");
  ASSERT_NO_FATAL_FAILURE(Cross());
  ASSERT_EQ(arrival_->databases(), 1u);
  EXPECT_EQ(pending()->size(), 999u);
  EXPECT_EQ(reader_.Call("GET k5"), "$1\r\nv\r\n");
  EXPECT_EQ(reader_.Call("GET k7"), "$7\r\nchanged\r\n");
  EXPECT_EQ(reader_.Call("GET k8"), "$-1\r\n");
  EXPECT_EQ(pending()->size(), 997u);
  EXPECT_EQ(reader_.Call("DBSIZE"), ":999\r\n");
}

TEST_F(KeyspaceCopyTest, WhatWasDeletedAfterwardsIsNotLoadedAgain) {
  Fill(100);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  ASSERT_NO_FATAL_FAILURE(Cross());
  EXPECT_EQ(reader_.Call("DEL k3 k4"), ":2\r\n");
  EXPECT_EQ(reader_.Call("RENAME k5 other"), "+OK\r\n");
  EXPECT_EQ(reader_.Call("MOVE k6 1"), ":1\r\n");
  EXPECT_EQ(reader_.Call("SET k7 new"), "+OK\r\n");
  LoadAll();
  EXPECT_EQ(reader_.Call("EXISTS k3 k4 k5 k6"), ":0\r\n");
  EXPECT_EQ(reader_.Call("GET k7"), "$3\r\nnew\r\n");
  EXPECT_EQ(reader_.Call("DBSIZE"), ":97\r\n");
}

TEST_F(KeyspaceCopyTest, KeysAndRandomKeySeeWhatIsPending) {
  Fill(50);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  ASSERT_NO_FATAL_FAILURE(Cross());
  reader_.Call("GET k1");
  const std::string keys = reader_.Call("KEYS *");
  EXPECT_EQ(keys.substr(0, 5), "*50\r\n");
  for (int i = 0; i < 50; ++i) {
    EXPECT_NE(keys.find("k" + std::to_string(i) + "\r\n"), std::string::npos) << i;
  }
  EXPECT_EQ(pending()->size(), 49u);
  std::set<std::string> picked;
  while (picked.size() < 50) picked.insert(reader_.Call("RANDOMKEY"));
  EXPECT_EQ(pending()->size(), 0u);
  EXPECT_EQ(reader_.Call("DBSIZE"), ":50\r\n");
}

std::string ScanStep(TestClient& client, const std::string& cursor,
                     std::multiset<std::string>& seen) {
  std::istringstream reply(client.Call("SCAN " + cursor + " COUNT 20"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(reply, line);) {
    lines.push_back(line.substr(0, line.size() - 1));
  }
  for (const std::string& line : lines) {
    if (line[0] == 'k') seen.insert(line);
  }
  return lines[2];
}

TEST_F(KeyspaceCopyTest, AScanThatBeganBeforeSeesEachKeyOnce) {
  Fill(2000);
  std::multiset<std::string> seen;
  std::string cursor = "0";
  for (int i = 0; i < 10; ++i) cursor = ScanStep(client_, cursor, seen);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  ASSERT_NO_FATAL_FAILURE(Cross());
  int steps = 0;
  while (cursor != "0") {
    cursor = ScanStep(reader_, cursor, seen);
    if (++steps % 5 == 0) pending()->LoadSome(new_.engine().keyspace().database(0));
  }
  EXPECT_GT(steps, 20);  // in steps, not at once
  EXPECT_EQ(seen.size(), 2000u);
  for (int i = 0; i < 2000; ++i) EXPECT_EQ(seen.count("k" + std::to_string(i)), 1u) << i;
}

TEST_F(KeyspaceCopyTest, ExpiryGoesOn) {
  client_.Call("SET soon v PX 20");
  client_.Call("SET late v PX 10000000");
  client_.Call("SET never v");
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  ASSERT_NO_FATAL_FAILURE(Cross());
  EXPECT_NE(reader_.Call("INFO keyspace").find("keys=3,expires=2"), std::string::npos);
  while (reader_.Call("EXISTS soon") == ":1\r\n") {
  }
  EXPECT_NE(reader_.Call("INFO keyspace").find("keys=2,expires=1"), std::string::npos);
  EXPECT_EQ(reader_.Call("TTL never"), ":-1\r\n");
  EXPECT_EQ(reader_.Call("PERSIST late"), ":1\r\n");
  EXPECT_NE(reader_.Call("INFO keyspace").find("keys=2,expires=0"), std::string::npos);
}

TEST_F(KeyspaceCopyTest, FlushAllWhileItIsCopied) {
  Fill(5000);
  StartCopy();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(copy_->Step(Soon()).ok());
  client_.Call("FLUSHALL");
  client_.Call("SET k1 again");
  ASSERT_TRUE(copy_->Step(kForever).ok());
  ASSERT_NO_FATAL_FAILURE(Cross());
  LoadAll();
  EXPECT_EQ(reader_.Call("KEYS *"), "*1\r\n$2\r\nk1\r\n");
}

TEST_F(KeyspaceCopyTest, FlushAllWhileKeysArePending) {
  Fill(100);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  ASSERT_NO_FATAL_FAILURE(Cross());
  EXPECT_EQ(reader_.Call("FLUSHALL"), "+OK\r\n");
  EXPECT_EQ(reader_.Call("DBSIZE"), ":0\r\n");
  EXPECT_EQ(reader_.Call("EXISTS k1"), ":0\r\n");
  EXPECT_EQ(reader_.Call("RANDOMKEY"), "$-1\r\n");
}

TEST_F(KeyspaceCopyTest, SwapDbWhileItIsCopiedAndWhileKeysArePending) {
  Fill(100);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  client_.Call("SWAPDB 0 3");
  client_.Call("SET k1 in-zero");
  ASSERT_NO_FATAL_FAILURE(Cross());
  EXPECT_EQ(reader_.Call("DBSIZE"), ":1\r\n");
  EXPECT_EQ(reader_.Call("SWAPDB 3 5"), "+OK\r\n");
  reader_.Call("SELECT 5");
  EXPECT_EQ(reader_.Call("DBSIZE"), ":100\r\n");
  EXPECT_EQ(reader_.Call("GET k1"), "$1\r\nv\r\n");
  reader_.Call("SELECT 0");
  EXPECT_EQ(reader_.Call("GET k1"), "$7\r\nin-zero\r\n");
}

TEST_F(KeyspaceCopyTest, WatchedKeysNoticeSwapAndFlushThoughPending) {
  Fill(10);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  ASSERT_NO_FATAL_FAILURE(Cross());
  reader_.Call("WATCH k1");
  TestClient(new_).Call("FLUSHALL");
  reader_.Call("MULTI");
  reader_.Call("PING");
  EXPECT_EQ(reader_.Call("EXEC"), "*-1\r\n");
}

TEST_F(KeyspaceCopyTest, ASecondCopyLoadsWhatIsPendingFirst) {
  Fill(500);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  ASSERT_NO_FATAL_FAILURE(Cross());
  KeyspaceCopy second(new_.engine(), format_, 0);
  ASSERT_TRUE(second.Step(kForever).ok());
  EXPECT_EQ(pending()->size(), 0u);
  EXPECT_TRUE(second.Finish().ok());
}

TEST_F(KeyspaceCopyTest, ARoundThatDoesNotCatchUpEnds) {
  Fill(3000);
  StartCopy();
  bool more = true;
  while (more) {
    auto stepped = copy_->Step(Soon());
    ASSERT_TRUE(stepped.ok());
    more = *stepped;
    Fill(3000);
  }
  ASSERT_NO_FATAL_FAILURE(Cross());
  LoadAll();
  EXPECT_EQ(reader_.Call("DBSIZE"), ":3000\r\n");
}

TEST_F(KeyspaceCopyTest, ManyChangesAreCopiedBySeveralThreads) {
  Fill(6000);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  for (int i = 0; i < 5000; ++i) {
    client_.Call((i % 3 == 0 ? "DEL k" : "APPEND k") + std::to_string(i) +
                 (i % 3 == 0 ? "" : " w"));
  }
  for (int i = 0; i < 100; ++i) client_.Call("SET other" + std::to_string(i) + " v PX 100000");
  ASSERT_NO_FATAL_FAILURE(Cross());
  EXPECT_EQ(pending()->volatile_size(), 100u);
  LoadAll();
  EXPECT_EQ(ContentOf(new_), ContentOf(old_));
}

TEST_F(KeyspaceCopyTest, AKindOfValueThatIsNotKnownIsRefusedAtOnce) {
  Fill(10);
  ASSERT_NO_FATAL_FAILURE(CopyAll());
  ASSERT_TRUE(copy_->Finish().ok());
  capnp::MallocMessageBuilder message;
  auto image = message.initRoot<image::BulkSet>();
  ASSERT_TRUE(copy_->Save(0, message.getRoot<capnp::AnyPointer>()));
  image = message.getRoot<image::BulkSet>();
  image.setKinds(image.getKinds() | 1u << 5);
  UniqueFd escrow(fcntl(copy_->escrow_fd(0), F_DUPFD_CLOEXEC, 3));
  auto opened = PendingKeys::Open(new_.engine(), format_, std::move(escrow), image.asReader());
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace liveexec::demo
