#include "handoff/manifest.h"

#include <string.h>

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "handoff/error_code.h"
#include "handoff/testing/image_bytes.h"

namespace liveexec {
namespace {

Manifest FullManifest() {
  Manifest manifest;
  manifest.framework_abi = 1;
  manifest.application = "test-app";
  manifest.version = "1.2.3~beta";
  manifest.generation = 17;
  manifest.upgrades_attempted = 23;
  manifest.upgrade_binary = "/srv/app";
  manifest.process_started_unix_ns = 1'600'000'000'000'000'001;
  manifest.blackout_start_ns = 987654321;
  manifest.components = {{"keyspace", 3, true, 4096, 0xfeedfacecafebeef},
                         {"empty", 1, false, 0, 0}};
  manifest.fds = {
      {"keyspace", "log", 0, {FdKind::kFile, 11, 22, 0}},
      {"server", "client", 5, {FdKind::kTcpStream, 0, 0, 77}},
      {"server", "client", ~uint64_t{0}, {FdKind::kTcpStream, 0, 0, 78}},
      {"server", "listener", 0, {FdKind::kTcpListener, 0, 0, 79}},
      {"server", "client", 6, {FdKind::kUnixStream, 0, 0, 80}},
      // Roles are the application's, whatever it makes them of.
      {"server", std::string("key\0one", 7), 0, {FdKind::kPipe, 12, 1, 0}},
      {"server", std::string("key\0two", 7), 0, {FdKind::kPipe, 12, 2, 0}},
  };
  manifest.locks = {{.entry = 0, .exclusive = true, .start = 10, .length = 0},
                    {.entry = 0, .exclusive = false, .start = 0, .length = 5}};
  // Not text: whatever bytes a process was started with.
  manifest.traits.arguments = {"app", "", "with space", "\xff\xfe"};
  manifest.traits.environment = {"A=1", "B=\x80"};
  manifest.traits.command_name = "name";
  manifest.traits.blocked_signals = 0x8000000000000001;
  manifest.traits.ignored_signals = 0x1000;
  manifest.traits.rlimits = {{7, 1024, 4096}, {4, ~uint64_t{0}, ~uint64_t{0}}};
  manifest.traits.dumpable = false;
  manifest.current.upgrade = 23;
  manifest.current.trigger = "signal";
  manifest.current.phases = {{"checking", 5, 6}, {"sealing", 11, 0}};
  manifest.history = {{.upgrade = 21, .outcome = Outcome::kRolledBack, .code = "E_CRASH"},
                      {.upgrade = 22, .outcome = Outcome::kAbandoned}};
  return manifest;
}

void ExpectSameFds(const std::vector<FdEntry>& left, const std::vector<FdEntry>& right) {
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].component, right[i].component);
    EXPECT_EQ(left[i].role, right[i].role);
    EXPECT_EQ(left[i].number, right[i].number);
    EXPECT_EQ(left[i].identity.kind, right[i].identity.kind);
    EXPECT_EQ(left[i].identity.device, right[i].identity.device);
    EXPECT_EQ(left[i].identity.inode, right[i].identity.inode);
    EXPECT_EQ(left[i].identity.socket_cookie, right[i].identity.socket_cookie);
  }
}

void ExpectSameLocks(const std::vector<FileLock>& left, const std::vector<FileLock>& right) {
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].entry, right[i].entry);
    EXPECT_EQ(left[i].exclusive, right[i].exclusive);
    EXPECT_EQ(left[i].start, right[i].start);
    EXPECT_EQ(left[i].length, right[i].length);
  }
}

void ExpectSame(const Manifest& left, const Manifest& right) {
  EXPECT_EQ(left.framework_abi, right.framework_abi);
  EXPECT_EQ(left.application, right.application);
  EXPECT_EQ(left.version, right.version);
  EXPECT_EQ(left.generation, right.generation);
  EXPECT_EQ(left.upgrades_attempted, right.upgrades_attempted);
  EXPECT_EQ(left.upgrade_binary, right.upgrade_binary);
  EXPECT_EQ(left.process_started_unix_ns, right.process_started_unix_ns);
  EXPECT_EQ(left.blackout_start_ns, right.blackout_start_ns);
  ASSERT_EQ(left.components.size(), right.components.size());
  for (size_t i = 0; i < left.components.size(); ++i) {
    EXPECT_EQ(left.components[i].name, right.components[i].name);
    EXPECT_EQ(left.components[i].schema_version, right.components[i].schema_version);
    EXPECT_EQ(left.components[i].has_image, right.components[i].has_image);
    EXPECT_EQ(left.components[i].length, right.components[i].length);
    EXPECT_EQ(left.components[i].checksum, right.components[i].checksum);
  }
  ExpectSameFds(left.fds, right.fds);
  ExpectSameLocks(left.locks, right.locks);
  EXPECT_EQ(left.traits.arguments, right.traits.arguments);
  EXPECT_EQ(left.traits.environment, right.traits.environment);
  EXPECT_EQ(left.traits.command_name, right.traits.command_name);
  EXPECT_EQ(left.traits.blocked_signals, right.traits.blocked_signals);
  EXPECT_EQ(left.traits.ignored_signals, right.traits.ignored_signals);
  EXPECT_EQ(left.traits.dumpable, right.traits.dumpable);
  ASSERT_EQ(left.traits.rlimits.size(), right.traits.rlimits.size());
  for (size_t i = 0; i < left.traits.rlimits.size(); ++i) {
    EXPECT_EQ(left.traits.rlimits[i].resource, right.traits.rlimits[i].resource);
    EXPECT_EQ(left.traits.rlimits[i].soft, right.traits.rlimits[i].soft);
    EXPECT_EQ(left.traits.rlimits[i].hard, right.traits.rlimits[i].hard);
  }
  EXPECT_EQ(left.current.upgrade, right.current.upgrade);
  EXPECT_EQ(left.current.phases.size(), right.current.phases.size());
  ASSERT_EQ(left.history.size(), right.history.size());
  for (size_t i = 0; i < left.history.size(); ++i) {
    EXPECT_EQ(left.history[i].upgrade, right.history[i].upgrade);
    EXPECT_EQ(left.history[i].outcome, right.history[i].outcome);
    EXPECT_EQ(left.history[i].code, right.history[i].code);
  }
}

// Reads a manifest from the bytes of an image.
absl::StatusOr<Manifest> ReadFrom(const ImageBytes& bytes) {
  UniqueFd fd = SealedWith(bytes);
  auto image = ImageFile::Open(Syscalls::Kernel(), fd.get(), nullptr);
  if (!image.ok()) return image.status();
  return ReadManifest(image->message());
}

ImageBytes Written(const Manifest& manifest) {
  capnp::MallocMessageBuilder message;
  WriteManifest(manifest, message.initRoot<image::Manifest>());
  return BytesOf({}, message);
}

TEST(Manifest, WhatIsWrittenIsReadBack) {
  for (const Manifest& manifest : {FullManifest(), Manifest{}}) {
    auto read = ReadFrom(Written(manifest));
    ASSERT_TRUE(read.ok()) << read.status();
    ExpectSame(*read, manifest);
  }
}

TEST(Manifest, TenThousandFdsSayTheirRoleOnce) {
  Manifest manifest;
  for (uint64_t i = 0; i < 10'000; ++i) {
    manifest.fds.push_back(
        {"server", "a role with quite a long name", i, {FdKind::kTcpStream, 0, 0, i + 1}});
  }
  ImageBytes bytes = Written(manifest);
  EXPECT_LT(bytes.size(), 10'000u * 56);
  auto read = ReadFrom(bytes);
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectSameFds(read->fds, manifest.fds);
}

TEST(Manifest, AnFdWithARoleThatIsNotThereIsRefused) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<image::Manifest>();
  WriteManifest(FullManifest(), root);
  uint32_t roles = root.getRoles().size();
  for (uint32_t role : {roles, ~uint32_t{0}}) {
    root.getFds()[0].setRole(role);
    auto read = ReadFrom(BytesOf({}, message));
    EXPECT_EQ(CodeOf(read.status()), "E_MANIFEST") << read.status();
    EXPECT_TRUE(absl::IsDataLoss(read.status())) << read.status();
  }
}

TEST(Manifest, ALockOnAnFdThatIsNotThereIsRefused) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<image::Manifest>();
  WriteManifest(FullManifest(), root);
  root.getLocks()[1].setEntry(root.getFds().size());
  auto read = ReadFrom(BytesOf({}, message));
  EXPECT_EQ(CodeOf(read.status()), "E_MANIFEST") << read.status();
}

TEST(Manifest, AnOutcomeThatDoesNotExistIsRefused) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<image::Manifest>();
  WriteManifest(FullManifest(), root);
  root.getHistory()[0].setOutcome(200);
  auto read = ReadFrom(BytesOf({}, message));
  EXPECT_EQ(CodeOf(read.status()), "E_MANIFEST") << read.status();
  EXPECT_TRUE(absl::IsDataLoss(read.status())) << read.status();
}

// Whatever the bytes are: a manifest, or the one error that the header promises.
void ExpectManifestOrError(const ImageBytes& bytes, const std::string& what) {
  auto read = ReadFrom(bytes);
  if (read.ok()) return;
  std::string code = CodeOf(read.status());
  // The segment table is the image's.
  EXPECT_TRUE(code == "E_MANIFEST" || code == "E_IMAGE") << what << ": " << read.status();
  EXPECT_TRUE(absl::IsDataLoss(read.status())) << what << ": " << read.status();
}

TEST(Manifest, EachByteChangedIsReadOrRefusedAndNothingElse) {
  ImageBytes good = Written(FullManifest());
  size_t refused = 0;
  for (size_t at = kImageHeaderSize; at < good.size(); ++at) {
    for (uint8_t flip : {0x01, 0x04, 0x80, 0xff}) {
      ImageBytes bytes = good;
      bytes[at] ^= flip;
      FixHeader(bytes);
      ExpectManifestOrError(bytes, "byte " + std::to_string(at));
      if (!ReadFrom(bytes).ok()) ++refused;
    }
  }
  EXPECT_GT(refused, 50u) << "pointers must have been hit";
}

TEST(Manifest, RandomBytesInAValidImageAreReadOrRefusedAndNothingElse) {
  std::mt19937_64 random(20240607);
  size_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint64_t> words(2 + random() % 60);
    for (uint64_t& word : words) {
      // Small offsets and sizes often, so that pointers hit something.
      word = random() % 2 == 0 ? random() : random() & 0x0003'000f'0000'00ff;
    }
    words[0] = uint64_t{words.size() - 1} << 32;
    ImageBytes bytes = ImageAround({}, Words(words));
    ExpectManifestOrError(bytes, "round " + std::to_string(round));
    if (!ReadFrom(bytes).ok()) ++refused;
  }
  EXPECT_GT(refused, 100u);
}

// A composite list says how many elements it has, and of what size: of size zero it may claim any
// number of them.
TEST(Manifest, AListThatClaimsElementsWhichTakeNoSpaceIsRefused) {
  ImageBytes bytes = Written(Manifest{});
  auto word = [&](size_t index) {
    uint64_t value;
    memcpy(&value, bytes.data() + kImageHeaderSize + index * sizeof(value), sizeof(value));
    return value;
  };
  auto set_word = [&](size_t index, uint64_t value) {
    memcpy(bytes.data() + kImageHeaderSize + index * sizeof(value), &value, sizeof(value));
  };
  // The segment table, the root's pointer, the root: its numbers, then its pointers, of which the
  // last is the history.
  const uint64_t root = word(1);
  const size_t history = 2 + ((root & 0xffffffff) >> 2) + (root >> 32 & 0xffff) + (root >> 48) - 1;
  const size_t end = (bytes.size() - kImageHeaderSize) / sizeof(uint64_t);
  constexpr uint64_t kList = 1, kComposite = uint64_t{7} << 32, kElements = 10000;
  bytes.resize(bytes.size() + sizeof(uint64_t));
  set_word(history, kList | (end - history - 1) << 2 | kComposite);
  set_word(end, kElements << 2);
  set_word(0, uint64_t{end} << 32);
  FixHeader(bytes);
  EXPECT_EQ(CodeOf(ReadFrom(bytes).status()), "E_MANIFEST");
}

}  // namespace
}  // namespace liveexec
