#include <capnp/message.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/testing/faulty_syscalls.h"
#include "handoff/bulk_records.h"
#include "handoff/bulk_writer.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

constexpr uint64_t kAllHashes = std::numeric_limits<uint64_t>::max();

// Records are texts.
absl::Status Add(BulkWriter& writer, uint64_t hash, const std::string& text, bool marked = false,
                 unsigned kind = 0) {
  return writer.Add(hash, marked, kind, [&](capnp::AnyPointer::Builder root) {
    root.setAs<capnp::Text>(capnp::Text::Reader(text.data(), text.size()));
  });
}

std::string TextAt(const BulkRecords& records, BulkRecords::Position position) {
  std::string text;
  const absl::Status status = records.Read(position, [&](capnp::AnyPointer::Reader root) {
    text = root.getAs<capnp::Text>().cStr();
    return absl::OkStatus();
  });
  return status.ok() ? text : status.ToString();
}

auto Is(const std::string& text) {
  return [&text](capnp::AnyPointer::Reader root) { return root.getAs<capnp::Text>() == text; };
}

// The set as the next program opens it.
absl::StatusOr<BulkRecords> Reopen(const BulkRecords& records, capnp::MessageBuilder& message) {
  UniqueFd escrow(fcntl(records.escrow_fd(), F_DUPFD_CLOEXEC, 3));
  return BulkRecords::Open(std::move(escrow), message.getRoot<image::BulkSet>().asReader());
}
absl::StatusOr<BulkRecords> Reopen(const BulkRecords& records) {
  capnp::MallocMessageBuilder message;
  records.Save(message.initRoot<image::BulkSet>());
  return Reopen(records, message);
}

class BulkTest : public testing::Test {
 protected:
  BulkWriter writer_{"bulk-test"};
};

TEST_F(BulkTest, ARecordIsFoundByHashAndContent) {
  ASSERT_TRUE(Add(writer_, 7, "seven").ok());
  ASSERT_TRUE(Add(writer_, 7, "also seven").ok());
  ASSERT_TRUE(Add(writer_, kAllHashes, "last").ok());
  ASSERT_TRUE(writer_.Finish().ok());
  auto records = Reopen(writer_.records());
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_EQ(records->size(), 3u);
  for (const auto& [hash, text] :
       {std::pair<uint64_t, std::string>{7, "seven"}, {7, "also seven"}, {kAllHashes, "last"}}) {
    auto found = records->Find(hash, Is(text));
    ASSERT_TRUE(found.has_value()) << text;
    EXPECT_EQ(TextAt(*records, *found), text);
  }
  EXPECT_FALSE(records->Find(7, Is("last")).has_value());
  EXPECT_FALSE(records->Find(8, Is("seven")).has_value());
}

TEST_F(BulkTest, ManyChunksHoldManyRecordsOfEverySize) {
  std::mt19937_64 random(1);  // NOLINT: the same each time
  std::map<uint64_t, std::string> model;
  for (int i = 0; i < 60000; ++i) {
    model.emplace(random(), std::string(random() % (i % 100 == 0 ? 100000 : 300), 'a' + i % 26));
  }
  for (const auto& [hash, text] : model) {
    ASSERT_TRUE(Add(writer_, hash, text).ok());
    bool more = true;
    while (more) {
      auto stepped = writer_.Step();
      ASSERT_TRUE(stepped.ok());
      more = *stepped;
    }
  }
  ASSERT_TRUE(writer_.Finish().ok());
  EXPECT_GE(writer_.records().chunks(), 2u);
  auto records = Reopen(writer_.records());
  ASSERT_TRUE(records.ok());
  for (const auto& [hash, text] : model) {
    auto found = records->Find(hash, [](capnp::AnyPointer::Reader) { return true; });
    ASSERT_TRUE(found.has_value());
    ASSERT_EQ(TextAt(*records, *found), text);
  }
}

TEST_F(BulkTest, ADroppedRecordIsGoneHereAndInTheNextProgram) {
  for (uint64_t hash = 0; hash < 200; ++hash) {
    ASSERT_TRUE(Add(writer_, hash, std::to_string(hash), hash % 2 == 0).ok());
  }
  ASSERT_TRUE(writer_.Finish().ok());
  BulkRecords& old = writer_.records();
  EXPECT_EQ(old.marked(), 100u);
  for (uint64_t hash = 0; hash < 200; hash += 4)
    old.Drop(*old.Find(hash, Is(std::to_string(hash))));
  EXPECT_EQ(old.size(), 150u);
  auto records = Reopen(old);
  ASSERT_TRUE(records.ok());
  EXPECT_EQ(records->size(), 150u);
  EXPECT_EQ(records->marked(), 50u);
  for (uint64_t hash = 0; hash < 200; ++hash) {
    EXPECT_EQ(records->Find(hash, Is(std::to_string(hash))).has_value(), hash % 4 != 0) << hash;
  }
}

TEST_F(BulkTest, ARecordThatChangedIsWrittenAgainInAnotherRound) {
  ASSERT_TRUE(Add(writer_, 5, "old").ok());
  ASSERT_TRUE(Add(writer_, 6, "stays").ok());
  ASSERT_TRUE(writer_.Finish().ok());
  writer_.records().Drop(*writer_.records().Find(5, Is("old")));
  ASSERT_TRUE(Add(writer_, 5, "new").ok());
  ASSERT_TRUE(writer_.Finish().ok());
  auto records = Reopen(writer_.records());
  ASSERT_TRUE(records.ok());
  EXPECT_EQ(records->size(), 2u);
  EXPECT_TRUE(records->Find(5, Is("new")).has_value());
  EXPECT_FALSE(records->Find(5, Is("old")).has_value());
}

TEST_F(BulkTest, ARangeOfHashesIsVisitedOnceAndMayBeDroppedMeanwhile) {
  for (uint64_t hash = 10; hash < 1000; hash += 3) ASSERT_TRUE(Add(writer_, hash, "x").ok());
  ASSERT_TRUE(writer_.Finish().ok());
  auto records = Reopen(writer_.records());
  ASSERT_TRUE(records.ok());
  size_t visited = 0;
  auto drop = [&](BulkRecords::Position position) {
    records->Drop(position);
    ++visited;
    return true;
  };
  records->ForRange(100, 199, drop);
  EXPECT_EQ(visited, 34u);
  records->ForRange(100, 199, drop);
  EXPECT_EQ(visited, 34u);
  records->ForRange(0, kAllHashes, drop);
  EXPECT_EQ(visited, 330u);
  EXPECT_EQ(records->size(), 0u);
  EXPECT_EQ(records->bytes(), 0u);
}

TEST_F(BulkTest, EveryRecordIsPickedSometime) {
  for (uint64_t hash = 0; hash < 20; ++hash) ASSERT_TRUE(Add(writer_, hash, "x").ok());
  ASSERT_TRUE(writer_.Finish().ok());
  std::mt19937_64 random(1);  // NOLINT: the same each time
  auto number = [&] { return uint64_t{random()}; };
  std::set<uint32_t> picked;
  for (int i = 0; i < 2000; ++i) picked.insert(writer_.records().Pick(number).record);
  EXPECT_EQ(picked.size(), 20u);
}

TEST_F(BulkTest, WhatIsInTheEscrowNeedsNoFd) {
  const UniqueFd before(dup(2));
  const int lowest = before.get();
  for (uint64_t hash = 0; hash < 50; ++hash) {
    ASSERT_TRUE(Add(writer_, hash, "x").ok());
    ASSERT_TRUE(writer_.Finish().ok());
  }
  EXPECT_EQ(writer_.records().chunks(), 50u);
  const UniqueFd after(dup(2));
  EXPECT_LE(after.get(), lowest + 3);  // the escrow's two ends
}

// ---- What no program of ours writes.

class ForeignBulkTest : public BulkTest {
 protected:
  void SetUp() override {
    for (uint64_t hash = 0; hash < 100; ++hash) ASSERT_TRUE(Add(writer_, hash, "x").ok());
    ASSERT_TRUE(writer_.Finish().ok());
    writer_.records().Save(message_->initRoot<image::BulkSet>());
  }
  image::BulkSet::Chunk::Builder chunk() {
    return message_->getRoot<image::BulkSet>().getChunks()[0];
  }
  std::string CodeOfOpening() { return CodeOf(Reopen(writer_.records(), *message_).status()); }

  // By pointer: its destructor may throw, and a test's may not.
  const std::unique_ptr<capnp::MallocMessageBuilder> message_ =
      std::make_unique<capnp::MallocMessageBuilder>();
};

TEST_F(ForeignBulkTest, AChunkThatIsNotTheOneListedIsRefused) {
  EXPECT_EQ(CodeOfOpening(), "");
  chunk().setHeaderChecksum(1);
  EXPECT_EQ(CodeOfOpening(), "E_IMAGE");
}

TEST_F(ForeignBulkTest, ImpossibleNumbersAreRefused) {
  chunk().setRecords(99);
  EXPECT_EQ(CodeOfOpening(), "E_IMAGE");
  chunk().setRecords(100);
  chunk().setMessage(7);
  EXPECT_EQ(CodeOfOpening(), "E_IMAGE");
  chunk().setMessage(0);
  chunk().setMarked(101);
  EXPECT_EQ(CodeOfOpening(), "E_IMAGE");
  chunk().setMarked(0);
  chunk().initLive(8);
  EXPECT_EQ(CodeOfOpening(), "E_IMAGE");
  chunk().initLive(16);  // none
  EXPECT_EQ(CodeOfOpening(), "E_IMAGE");
}

// A chunk's bytes in a memfd.
UniqueFd Memfd(const std::string& bytes, bool seal = true) {
  UniqueFd fd(memfd_create("chunk", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  if (seal) fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
  return fd;
}

std::string ChunkBytes() {
  auto writer = BulkChunkWriter::Create(Syscalls::Kernel(), "chunk");
  EXPECT_TRUE(writer.ok());
  for (uint64_t hash = 0; hash < 10; ++hash) {
    capnp::MallocMessageBuilder record;
    record.setRoot(capnp::Text::Reader("text"));
    EXPECT_TRUE((*writer)->Add(hash, false, record).ok());
  }
  for (bool more = true; more;) {
    auto finished = (*writer)->FinishSome();
    EXPECT_TRUE(finished.ok());
    more = finished.ok() && *finished;
  }
  const UniqueFd fd = (*writer)->TakeFd();
  std::string bytes((*writer)->TakeChunk().size(), '\0');
  EXPECT_EQ(pread(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return bytes;
}

std::string CodeOfChunk(const std::string& bytes, bool seal = true) {
  return CodeOf(BulkChunk::Open(Syscalls::Kernel(), Memfd(bytes, seal).get()).status());
}

TEST(BulkChunkTest, OpensOnlyWhatIsSealedWholeAndOfThisFormat) {
  std::string bytes = ChunkBytes();
  EXPECT_EQ(CodeOfChunk(bytes), "");
  EXPECT_EQ(CodeOfChunk(bytes, /*seal=*/false), "E_SEAL");
  EXPECT_EQ(CodeOfChunk(""), "E_IMAGE");
  EXPECT_EQ(CodeOfChunk(bytes.substr(0, 63)), "E_IMAGE");
  EXPECT_EQ(CodeOfChunk(bytes.substr(0, bytes.size() - 8)), "E_IMAGE");
  bytes[20] ^= 1;
  EXPECT_EQ(CodeOfChunk(bytes), "E_CHECKSUM");
  bytes[0] ^= 1;
  EXPECT_EQ(CodeOfChunk(bytes), "E_IMAGE");
}

TEST(BulkChunkTest, DamagedContentIsFoundByVerifyingIt) {
  std::string bytes = ChunkBytes();
  bytes[70] ^= 1;
  auto chunk = BulkChunk::Open(Syscalls::Kernel(), Memfd(bytes).get());
  ASSERT_TRUE(chunk.ok());
  absl::StatusOr<bool> more = true;
  while (more.ok() && *more) more = chunk->VerifySome(100);
  EXPECT_EQ(CodeOf(more.status()), "E_CHECKSUM");
}

TEST(BulkChunkTest, ARecordThatLiesElsewhereIsAnError) {
  const std::string bytes = ChunkBytes();
  for (uint64_t location : {uint64_t{0}, uint64_t{56}, uint64_t{65}, uint64_t{bytes.size()},
                            uint64_t{1} << 62, ~uint64_t{0}}) {
    std::string damaged = bytes;
    memcpy(damaged.data() + bytes.size() - 8, &location, 8);
    auto chunk = BulkChunk::Open(Syscalls::Kernel(), Memfd(damaged).get());
    ASSERT_TRUE(chunk.ok());
    const absl::Status status =
        chunk->Read(9, [](capnp::AnyPointer::Reader) { return absl::OkStatus(); });
    EXPECT_EQ(CodeOf(status), "E_IMAGE") << location;
  }
}

// ---- No room.

TEST(BulkWriterTest, EverySystemCallThatFailsIsAnErrorWithACode) {
  for (int error : {ENOMEM, EMFILE, ENOSPC}) {
    const int calls = ForEachCall(error, Times::kFromThenOn, [&](FaultySyscalls& syscalls) {
      BulkWriter writer("bulk-test", syscalls);
      absl::Status status = Add(writer, 1, "text");
      if (status.ok()) status = writer.Finish();
      // Without all the memory that was asked for its queue, an escrow is smaller.
      const bool harmless = !syscalls.failed() || syscalls.calls().back() == "Setsockopt";
      EXPECT_EQ(CodeOf(status), status.ok() && harmless ? "" : "E_MEMORY") << status;
    });
    EXPECT_GT(calls, 5);
  }
}

TEST(BulkWriterTest, AFileSizeLimitIsAnErrorAndNoSignal) {
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small = {.rlim_cur = 1 << 16, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  BulkWriter writer("bulk-test");
  absl::Status status;
  for (uint64_t hash = 0; status.ok() && hash < 100; ++hash) {
    status = Add(writer, hash, std::string(10000, 'x'));
  }
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(CodeOf(status), "E_MEMORY") << status;
}

}  // namespace
}  // namespace liveexec
