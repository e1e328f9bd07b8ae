#include "handoff/image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "core/error.h"
#include "core/testing/faulty_syscalls.h"
#include "core/testing/open_files.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"
#include "handoff/testing/image_bytes.h"
#include "handoff/testing/test_image.capnp.h"

namespace liveexec {
namespace {

using testing_image::TestImage;

const ImageStamp kStamp = {.generation = 7, .nonce = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}};

Syscalls& Kernel() { return Syscalls::Kernel(); }

void Fill(TestImage::Builder image) {
  image.setValue(42);
  image.setText("some text");
  image.initChildren(3)[1].setValue(43);
}

ImageBytes GoodBytes() {
  capnp::MallocMessageBuilder message;
  Fill(message.initRoot<TestImage>());
  return BytesOf(kStamp, message);
}

// The code of reading `bytes`; every error of a reader is DataLoss.
std::string CodeOfVerifying(const ImageBytes& bytes) {
  ImageStamp stamp;
  uint64_t checksum;
  absl::Status status = VerifyImageBytes(bytes, stamp, checksum);
  EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
  return CodeOf(status);
}

TEST(ImageFile, WhatWasWrittenIsReadInPlace) {
  capnp::MallocMessageBuilder message;
  Fill(message.initRoot<TestImage>());
  auto written = WriteImage(Kernel(), "liveexec-test", kStamp, message);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->length % 8, 0u);
  auto image = ImageFile::Open(Kernel(), written->fd.get(), &kStamp);
  ASSERT_TRUE(image.ok()) << image.status();
  written->fd.reset();
  EXPECT_EQ(image->stamp(), kStamp);
  EXPECT_EQ(image->length(), written->length);
  EXPECT_EQ(image->checksum(), written->checksum);
  ImageFile moved = *std::move(image);
  auto root = moved.message().getRoot<TestImage>();
  EXPECT_EQ(root.getValue(), 42u);
  EXPECT_STREQ(root.getText().cStr(), "some text");
  EXPECT_EQ(root.getChildren()[1].getValue(), 43u);
}

TEST(ImageFile, AMessageOfManySegmentsIsReadBack) {
  // Segments of the smallest size there is.
  capnp::MallocMessageBuilder message(1, capnp::AllocationStrategy::FIXED_SIZE);
  auto children = message.initRoot<TestImage>().initChildren(1000);
  for (uint32_t i = 0; i < children.size(); ++i) {
    children[i].setText("a text long enough for a segment of its own " + std::to_string(i));
  }
  ASSERT_GT(message.getSegmentsForOutput().size(), 500u);
  auto written = WriteImage(Kernel(), "liveexec-test", kStamp, message);
  ASSERT_TRUE(written.ok()) << written.status();
  auto image = ImageFile::Open(Kernel(), written->fd.get(), &kStamp);
  ASSERT_TRUE(image.ok()) << image.status();
  auto root = image->message().getRoot<TestImage>();
  EXPECT_STREQ(root.getChildren()[999].getText().cStr(),
               "a text long enough for a segment of its own 999");
}

TEST(ImageFile, TheDocumentedHeaderIsWhatIsWritten) {
  ImageBytes good = GoodBytes();
  ImageBytes message(good.begin() + kImageHeaderSize, good.end());
  EXPECT_EQ(ImageAround(kStamp, message), good);
}

TEST(ImageFile, EachByteOfTheHeaderIsGuarded) {
  ImageBytes good = GoodBytes();
  ASSERT_EQ(CodeOfVerifying(good), "");
  for (size_t at = 0; at < kImageHeaderSize; ++at) {
    for (uint8_t flip : {0x01, 0x80, 0xff}) {
      ImageBytes bytes = good;
      bytes[at] ^= flip;
      EXPECT_EQ(CodeOfVerifying(bytes), at < 8 ? "E_IMAGE" : "E_CHECKSUM") << "byte " << at;
    }
  }
}

TEST(ImageFile, EachByteOfTheMessageIsGuarded) {
  ImageBytes good = GoodBytes();
  for (size_t at = kImageHeaderSize; at < good.size(); ++at) {
    ImageBytes bytes = good;
    bytes[at] ^= 0x10;
    EXPECT_EQ(CodeOfVerifying(bytes), "E_CHECKSUM") << "byte " << at;
  }
}

TEST(ImageFile, AHeaderThatContradictsItsFileIsRefusedAlsoWithARightChecksum) {
  struct Row {
    const char* what;
    size_t at;
    uint64_t value;
    size_t size;
    const char* code;
  };
  const Row table[] = {
      {"a later format", 8, 2, 4, "E_IMAGE"},
      {"no format", 8, 0, 4, "E_IMAGE"},
      {"a longer header", 12, 72, 4, "E_IMAGE"},
      {"no header", 12, 0, 4, "E_IMAGE"},
      {"length 0", 40, 0, 8, "E_IMAGE"},
      {"a length that is no multiple of 8", 40, 97, 8, "E_IMAGE"},
      {"a length that is 8 too large", 40, GoodBytes().size() - kImageHeaderSize + 8, 8, "E_IMAGE"},
      {"a huge length", 40, ~uint64_t{0}, 8, "E_IMAGE"},
      {"a length that wraps around", 40, ~uint64_t{0} - 63, 8, "E_IMAGE"},
      {"another checksum", 48, 12345, 8, "E_CHECKSUM"},
  };
  for (const Row& row : table) {
    ImageBytes bytes = GoodBytes();
    memcpy(bytes.data() + row.at, &row.value, row.size);
    FixHeaderChecksum(bytes);
    EXPECT_EQ(CodeOfVerifying(bytes), row.code) << row.what;
  }
}

TEST(ImageFile, AnImageThatIsCutOffOrGoesOnIsRefused) {
  ImageBytes good = GoodBytes();
  ASSERT_GT(good.size(), 100u);
  for (size_t length = 0; length <= 100; ++length) {
    ImageBytes bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_EQ(CodeOfVerifying(bytes), "E_IMAGE") << "cut at " << length;
    UniqueFd fd = SealedWith(bytes);
    EXPECT_EQ(CodeOf(ImageFile::Open(Kernel(), fd.get(), &kStamp).status()), "E_IMAGE");
  }
  for (size_t more : {1, 7, 8, 4096}) {
    ImageBytes bytes = good;
    bytes.resize(good.size() + more);
    EXPECT_EQ(CodeOfVerifying(bytes), "E_IMAGE") << more << " bytes more";
  }
}

TEST(ImageFile, ASegmentTableThatLiesIsRefused) {
  auto table_word = [](uint64_t low, uint64_t high) { return low | (high << 32); };
  struct Row {
    const char* what;
    std::vector<uint64_t> words;
  };
  const Row table[] = {
      {"no message at all", {}},
      {"2^32 segments", {table_word(0xffffffff, 0), 0}},
      {"2^31 segments", {table_word(0x7fffffff, 0), 0}},
      {"more segments than any builder makes", std::vector<uint64_t>(4000, 0x00000000'00001388)},
      {"a table that is cut off", {table_word(9, 1), 0}},
      {"a segment longer than the message", {table_word(0, 5), 0}},
      {"a segment of 2^32 - 1 words", {table_word(0, 0xffffffff), 0}},
      {"words that no segment has", {table_word(0, 1), 0, 0}},
      {"segments that wrap around together",
       {table_word(2, 0xffffffff), table_word(0xffffffff, 3), 0}},
  };
  for (const Row& row : table) {
    EXPECT_EQ(CodeOfVerifying(ImageAround(kStamp, Words(row.words))), "E_IMAGE") << row.what;
  }
  EXPECT_EQ(CodeOfVerifying(ImageAround(kStamp, Words({table_word(0, 1), 0}))), "");
}

TEST(ImageFile, AnImageOfAnotherUpgradeIsRefused) {
  UniqueFd fd = SealedWith(GoodBytes());
  ImageStamp other_nonce = kStamp, other_generation = kStamp;
  other_nonce.nonce[15] ^= 1;
  ++other_generation.generation;
  for (const ImageStamp& expected : {other_nonce, other_generation}) {
    auto image = ImageFile::Open(Kernel(), fd.get(), &expected);
    EXPECT_EQ(CodeOf(image.status()), "E_STAMP") << image.status();
    EXPECT_TRUE(absl::IsDataLoss(image.status()));
  }
  auto any = ImageFile::Open(Kernel(), fd.get(), nullptr);
  ASSERT_TRUE(any.ok());
  EXPECT_EQ(any->stamp(), kStamp);
}

TEST(ImageFile, WhatIsNotSealedIsRefusedBeforeAnythingIsRead) {
  ImageBytes good = GoodBytes();
  UniqueFd unsealed(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(write(unsealed.get(), good.data(), good.size()), static_cast<ssize_t>(good.size()));
  UniqueFd unsealable(memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(write(unsealable.get(), good.data(), good.size()), static_cast<ssize_t>(good.size()));
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  for (int fd : {unsealed.get(), unsealable.get(), reader.get()}) {
    FaultySyscalls syscalls;
    auto image = ImageFile::Open(syscalls, fd, &kStamp);
    EXPECT_EQ(CodeOf(image.status()), "E_SEAL") << image.status();
    EXPECT_TRUE(absl::IsDataLoss(image.status())) << image.status();
    EXPECT_EQ(syscalls.count("Mmap"), 0);
  }
}

// Counts what can be reached from `image`, down to the depth and width that the reader allows.
size_t Visit(TestImage::Reader image) {
  size_t visited = 1 + image.getText().size();
  for (TestImage::Reader child : image.getChildren()) visited += Visit(child);
  return visited;
}

// Opens an image whose single segment is `words`, and walks through it.
absl::Status Walk(std::vector<uint64_t> words, size_t& visited) {
  words.insert(words.begin(), uint64_t{words.size()} << 32);
  UniqueFd fd = SealedWith(ImageAround(kStamp, Words(words)));
  auto image = ImageFile::Open(Kernel(), fd.get(), &kStamp);
  if (!image.ok()) return image.status();
  return GuardedCall("walk", [&] {
    visited = Visit(image->message().getRoot<TestImage>());
    return absl::OkStatus();
  });
}

constexpr uint64_t StructPointer(int32_t offset, uint64_t data_words, uint64_t pointers) {
  return uint64_t{static_cast<uint32_t>(offset) << 2} | (data_words << 32) | (pointers << 48);
}
// Element size 7: a tag word and `words` words of structs.
constexpr uint64_t ListPointer(int32_t offset, uint64_t words, uint64_t element_size = 7) {
  return uint64_t{(static_cast<uint32_t>(offset) << 2) | 1} | (element_size << 32) | (words << 35);
}
constexpr uint64_t ListTag(uint64_t count, uint64_t data_words, uint64_t pointers) {
  return (count << 2) | (data_words << 32) | (pointers << 48);
}

TEST(ImageFile, PointerBombsEndWithAnErrorAndNotWithAHang) {
  // Structs of 1 data word and 3 pointers: text, children, anything.
  struct Row {
    const char* what;
    std::vector<uint64_t> words;
  };
  const Row table[] = {
      {"a root that points out of the message", {StructPointer(1000, 1, 3)}},
      {"a root that points before the message", {StructPointer(-1000, 1, 3)}},
      {"a root in a segment that is not there", {2 | (uint64_t{99} << 32)}},
      {"a list that contains itself, twice in each round",
       {StructPointer(0, 1, 3), 0, 0, ListPointer(1, 8), 0, ListTag(2, 1, 3), 0, 0,
        ListPointer(-4, 8), 0, 0, 0, ListPointer(-8, 8), 0}},
      {"2^29 - 1 structs of no size",
       {StructPointer(0, 1, 3), 0, 0, ListPointer(1, 0), 0, ListTag((1 << 29) - 1, 0, 0)}},
      {"a list of 2^29 - 1 words that are not there",
       {StructPointer(0, 1, 3), 0, 0, ListPointer(1, (1 << 29) - 1), 0, ListTag(1 << 20, 1, 3)}},
      {"a text of 2^29 - 1 bytes that are not there",
       {StructPointer(0, 1, 3), 0, ListPointer(2, (1 << 29) - 1, 2), 0, 0, 0}},
      {"a text that does not end with a zero byte",
       {StructPointer(0, 1, 3), 0, ListPointer(2, 8, 2), 0, 0, 0x6161616161616161}},
  };
  for (const Row& row : table) {
    size_t visited = 0;
    absl::Status status = Walk(row.words, visited);
    EXPECT_EQ(CodeOf(status), "E_EXCEPTION") << row.what << ": " << status << ", " << visited;
  }
}

TEST(ImageFile, EveryFailingCallIsAnErrorAndLeaksNothing) {
  auto before = OpenFiles();
  int count = ForEachCall(EIO, Times::kOnce, [](FaultySyscalls& syscalls) {
    absl::Status status = [&]() -> absl::Status {
      capnp::MallocMessageBuilder message;
      Fill(message.initRoot<TestImage>());
      LIVEEXEC_ASSIGN_OR_RETURN(WrittenImage written,
                                WriteImage(syscalls, "liveexec-test", kStamp, message));
      return ImageFile::Open(syscalls, written.fd.get(), &kStamp).status();
    }();
    EXPECT_EQ(status.ok(), !syscalls.failed());
    EXPECT_TRUE(status.ok() || ErrnoOf(status) == EIO) << status;
  });
  EXPECT_GT(count, 6);
  EXPECT_EQ(OpenFiles(), before);
}

}  // namespace
}  // namespace liveexec
