// Keys that an upgrade left pending, in resident memory that has hardly room for them.
#include "demo-server/pending_keys.h"

#include <capnp/message.h>
#include <fcntl.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/resident_region.h"
#include "demo-server/keyspace_copy.h"
#include "demo-server/testing/engine_harness.h"

namespace liveexec::demo {
namespace {

constexpr int64_t kForever = std::numeric_limits<int64_t>::max();
constexpr size_t kMiB = 1 << 20;
constexpr uint64_t kLayout = ResidentLayout("test", 1).fingerprint();

// The old program has its keys on the heap, the new one in resident memory.
class PendingKeysTest : public testing::Test, public KeysAhead {
 protected:
  ~PendingKeysTest() override {
    reader_.reset();
    pending_.reset();
    new_.reset();
    storage_heap = nullptr;
  }

  void Fill(int keys, size_t size) {
    const std::string value(size, 'v');
    for (int i = 0; i < keys; ++i) client_.Call("SET k" + std::to_string(i) + " " + value);
  }

  // The new program, with so much memory and all keys pending.
  void Cross(size_t capacity) {
    copy_ = std::make_unique<KeyspaceCopy>(old_.engine(), format_, 0);
    ASSERT_TRUE(copy_->Step(kForever).ok());
    ASSERT_TRUE(copy_->Finish().ok());
    capnp::MallocMessageBuilder message;
    format_.WriteKeyspace(
        old_.engine(), [] { return false; }, copy_.get(), message.initRoot<capnp::AnyPointer>());
    auto region = ResidentRegion::Create(Syscalls::Kernel(), kLayout, capacity);
    ASSERT_TRUE(region.ok()) << region.status();
    region_.emplace(*std::move(region));
    storage_heap = &region_->heap();
    new_ = std::make_unique<EngineHarness>(1, /*seed=*/2);
    reader_ = std::make_unique<TestClient>(*new_);
    const absl::Status read =
        format_.ReadKeyspace(message.getRoot<capnp::AnyPointer>().asReader(), new_->engine(), this);
    ASSERT_TRUE(read.ok()) << read;
  }
  bool Save(int, capnp::AnyPointer::Builder) const override { return false; }
  absl::Status Load(int database, capnp::AnyPointer::Reader image) override {
    UniqueFd escrow(fcntl(copy_->escrow_fd(database), F_DUPFD_CLOEXEC, 3));
    auto opened = PendingKeys::Open(new_->engine(), format_, std::move(escrow),
                                    image.getAs<image::BulkSet>());
    if (!opened.ok()) return opened.status();
    pending_ = *std::move(opened);
    this->database().set_pending(pending_.get());
    return absl::OkStatus();
  }

  Database& database() { return new_->engine().keyspace().database(0); }
  void LoadAll() {
    while (pending_->size() > 0) pending_->LoadSome(database());
  }
  // Takes all the memory that is left, the room that is owed included.
  void UseUp() {
    for (size_t size = ResidentHeap::kLargestSmall; size >= 16; size -= 16) UseUp(size);
  }
  void UseUp(size_t size) {
    try {
      while (true) used_.push_back(AllocateStorage(size));
    } catch (const std::bad_alloc&) {
    }
  }
  void FreeWhatWasUsed() {
    for (void* memory : used_) FreeStorage(memory, 0);
    used_.clear();
  }
  uint64_t lost() { return new_->engine().statistics().lost_keys; }
  int64_t Used() { return static_cast<int64_t>(region_->heap().usage().used); }

  const StateFormat& format_ = StateFormatV2();
  std::optional<ResidentRegion> region_;
  EngineHarness old_{1, /*seed=*/1};
  TestClient client_{old_};
  std::unique_ptr<KeyspaceCopy> copy_;
  std::unique_ptr<EngineHarness> new_;
  std::unique_ptr<TestClient> reader_;
  std::unique_ptr<PendingKeys> pending_;
  std::vector<void*> used_;
};

constexpr char kOom[] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

TEST_F(PendingKeysTest, WritesLeaveTheRoomThatPendingKeysTake) {
  Fill(10'000, 1000);
  ASSERT_NO_FATAL_FAILURE(Cross(24 * kMiB));
  const std::string value(1000, 'n');
  int written = 0;
  while (reader_->Call("SET n" + std::to_string(written) + " " + value) == "+OK\r\n") ++written;
  EXPECT_GT(written, 100);
  EXPECT_LT(written, 10'000);
  // Nor by one large value.
  EXPECT_EQ(reader_->Call("APPEND n0 " + std::string(60'000, 'n')), kOom);
  EXPECT_EQ(pending_->size(), 10'000u);
  ASSERT_NO_FATAL_FAILURE(LoadAll());
  EXPECT_EQ(reader_->Call("DBSIZE"), ":" + std::to_string(10'000 + written) + "\r\n");
  EXPECT_EQ(reader_->Call("STRLEN k9999"), ":1000\r\n");
  EXPECT_EQ(storage_owed, 0u);
  EXPECT_EQ(lost(), 0u);
}

TEST_F(PendingKeysTest, OneLargeWriteDoesNotTakeTheRoomEither) {
  Fill(4000, 1000);
  ASSERT_NO_FATAL_FAILURE(Cross(16 * kMiB));
  EXPECT_EQ(reader_->Send(Encode({"SET", "big", std::string(11 * kMiB, 'b')})), kOom);
  EXPECT_EQ(reader_->Send(Encode({"SET", "less", std::string(6 * kMiB, 'b')})), "+OK\r\n");
  ASSERT_NO_FATAL_FAILURE(LoadAll());
  EXPECT_EQ(reader_->Call("DBSIZE"), ":4001\r\n");
}

TEST_F(PendingKeysTest, AKeyThatThereIsNoMemoryForStaysAndComesWhenThereIs) {
  Fill(2000, 1000);
  client_.Call("SET mortal v PX 100000000");
  ASSERT_NO_FATAL_FAILURE(Cross(16 * kMiB));
  UseUp();
  EXPECT_THROW(pending_->LoadSome(database()), std::bad_alloc);
  EXPECT_THROW(pending_->LoadSome(database()), std::bad_alloc);
  for (const char* command :
       {"GET k1", "EXISTS k1", "RENAME k1 other", "MGET k1 k2", "RANDOMKEY", "SCAN 0", "TTL k1"}) {
    EXPECT_EQ(reader_->Call(command), kOom) << command;
  }
  EXPECT_EQ(reader_->Call("GET none"), "$-1\r\n");
  EXPECT_EQ(reader_->Call("KEYS k1999"), "*1\r\n$5\r\nk1999\r\n");
  EXPECT_NE(reader_->Call("INFO stats").find("liveexec_pending_keys:2001\r\n"), std::string::npos);
  // It can go without being loaded.
  EXPECT_EQ(reader_->Call("DEL k2"), ":1\r\n");
  EXPECT_EQ(reader_->Call("DBSIZE"), ":2000\r\n");
  FreeWhatWasUsed();
  ASSERT_NO_FATAL_FAILURE(LoadAll());
  EXPECT_EQ(reader_->Call("DBSIZE"), ":2000\r\n");
  EXPECT_EQ(reader_->Call("STRLEN k1"), ":1000\r\n");
  EXPECT_EQ(reader_->Call("PERSIST mortal"), ":1\r\n");
  EXPECT_EQ(reader_->Call("EXISTS k2"), ":0\r\n");
  EXPECT_EQ(lost(), 0u);
}

TEST_F(PendingKeysTest, ACommandOfATransactionFailsAloneAndAWatchedKeyAbortsIt) {
  Fill(100, 1000);
  ASSERT_NO_FATAL_FAILURE(Cross(4 * kMiB));
  UseUp();
  reader_->Call("MULTI");
  reader_->Call("PING");
  reader_->Call("GET k1");
  reader_->Call("PING");
  EXPECT_EQ(reader_->Call("EXEC"), "*3\r\n+PONG\r\n" + std::string(kOom) + "+PONG\r\n");
  reader_->session.transaction.watched.push_back({0, "k1"});
  reader_->Call("MULTI");
  EXPECT_EQ(reader_->Call("EXEC").substr(0, 10), "-EXECABORT");
  EXPECT_EQ(reader_->Call("PING"), "+PONG\r\n");
}

TEST_F(PendingKeysTest, OneLargeKeyDoesNotKeepTheOthersFromBeingLoaded) {
  Fill(500, 100);
  client_.Send(Encode({"SET", "large", std::string(2 * kMiB, 'v')}));
  ASSERT_NO_FATAL_FAILURE(Cross(2 * kMiB));
  for (int failed = 0; pending_->size() > 1;) {
    try {
      pending_->LoadSome(database());
    } catch (const std::bad_alloc&) {
      ASSERT_LT(++failed, 3);
    }
  }
  EXPECT_EQ(reader_->Call("GET large"), kOom);
  EXPECT_EQ(reader_->Call("FLUSHALL"), "+OK\r\n");
  EXPECT_EQ(storage_owed, 0u);
}

TEST_F(PendingKeysTest, AnUpgradeThatCannotTakeThemAlongIsGivenUp) {
  Fill(1000, 1000);
  ASSERT_NO_FATAL_FAILURE(Cross(8 * kMiB));
  UseUp();
  for (size_t threshold : {size_t{0}, KeyspaceCopy::kOnlyLoad}) {
    KeyspaceCopy second(new_->engine(), format_, threshold);
    const auto step = second.Step(kForever);
    EXPECT_EQ(step.status().code(), absl::StatusCode::kResourceExhausted) << step.status();
    EXPECT_FALSE(second.has_copy());
  }
  EXPECT_EQ(pending_->size(), 1000u);
  FreeWhatWasUsed();
  KeyspaceCopy third(new_->engine(), format_, 0);
  ASSERT_TRUE(third.Step(kForever).ok());
  EXPECT_TRUE(third.Finish().ok());
  EXPECT_EQ(pending_->size(), 0u);
}

// What keys will take is known before, whatever their values are and however they changed.
TEST_F(PendingKeysTest, WhatIsOwedIsWhatLoadingTakes) {
  for (int i = 0; i < 3000; ++i) {
    const std::string n = std::to_string(i);
    client_.Call("SET s" + n + " " + std::string(static_cast<size_t>(i % 700), 's'));
    client_.Call("RPUSH list" + std::to_string(i % 100) + " " + n + " " + std::string(40, 'e'));
    client_.Call("HSET hash" + std::to_string(i % 50) + " field" + n + " " + std::string(20, 'f'));
    client_.Call("SADD set" + std::to_string(i % 200) + " " + n);
    client_.Call("ZADD sorted" + std::to_string(i % 3) + " " + n + " member" + n);
    if (i % 10 == 0) client_.Call("SET s" + n + " v PX 100000000");
  }
  ASSERT_NO_FATAL_FAILURE(Cross(64 * kMiB));
  const auto owed = static_cast<int64_t>(storage_owed);
  const int64_t before = Used();
  pending_->ReserveTable(database());
  ASSERT_NO_FATAL_FAILURE(LoadAll());
  const int64_t taken = Used() - before;
  EXPECT_GE(owed, taken);
  EXPECT_LE(owed, taken + int64_t{5} * kMiB);  // a chunk of each size is not full
  EXPECT_EQ(storage_owed, 0u);
}

}  // namespace
}  // namespace liveexec::demo
