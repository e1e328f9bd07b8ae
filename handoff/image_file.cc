#include "handoff/image_file.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/file_size_signal.h"
#include "handoff/guarded_call.h"

namespace liveexec {
namespace {

constexpr char kMagic[8] = {'L', 'V', 'X', 'I', 'M', 'A', 'G', 'E'};
constexpr uint32_t kFormatVersion = 1;
// More segments than any builder of ours makes; the table is bounded before it is read.
constexpr uint32_t kMaxSegments = 4096;

struct Header {
  char magic[8];
  uint32_t format_version;
  uint32_t header_size;
  uint64_t generation;
  uint8_t nonce[16];
  uint64_t length;
  uint64_t checksum;
  uint64_t header_checksum;
};
static_assert(sizeof(Header) == kImageHeaderSize);
static_assert(std::endian::native == std::endian::little, "images are read in place");

uint64_t HeaderChecksum(const Header& header) {
  return XXH3_64bits(&header, offsetof(Header, header_checksum));
}

absl::Status Damaged(std::string_view code, std::string_view message) {
  return CodedError(code, absl::StatusCode::kDataLoss, message);
}

// The stream framing's table: count - 1, then each segment's size in words, padded to a whole word.
std::vector<uint32_t> SegmentTable(kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) {
  std::vector<uint32_t> table;
  table.push_back(static_cast<uint32_t>(segments.size() - 1));
  for (const auto& segment : segments) table.push_back(static_cast<uint32_t>(segment.size()));
  if (table.size() % 2 != 0) table.push_back(0);
  return table;
}

absl::Status CheckSegmentTable(absl::Span<const uint8_t> message) {
  auto word32 = [&](size_t index) {
    uint32_t value;
    memcpy(&value, message.data() + index * sizeof(value), sizeof(value));
    return value;
  };
  if (message.size() < sizeof(capnp::word)) return Damaged("E_IMAGE", "the message is empty");
  uint64_t count = uint64_t{word32(0)} + 1;
  if (count > kMaxSegments) {
    return Damaged("E_IMAGE", absl::StrCat("the message claims ", count, " segments"));
  }
  uint64_t table_words = (count + 2) / 2;
  uint64_t message_words = message.size() / sizeof(capnp::word);
  if (table_words > message_words) return Damaged("E_IMAGE", "the segment table is cut off");
  uint64_t needed = table_words;
  for (uint64_t i = 0; i < count; ++i) needed += word32(1 + i);
  if (needed != message_words) {
    return Damaged("E_IMAGE", absl::StrCat("the segments need ", needed, " words and ",
                                           message_words, " are there"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WrittenImage> WriteImage(Syscalls& syscalls, const char* name,
                                        const ImageStamp& stamp, capnp::MessageBuilder& message) {
  FileSizeSignalHeld held;
  LIVEEXEC_ASSIGN_OR_RETURN(MemfdWriter writer, MemfdWriter::Create(syscalls, name));
  Header header = {};
  auto header_bytes =
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(&header), sizeof(header));
  LIVEEXEC_RETURN_IF_ERROR(writer.Append(header_bytes));

  XXH3_state_t checksum;
  XXH3_64bits_reset(&checksum);
  auto append = [&](const void* data, size_t size) {
    XXH3_64bits_update(&checksum, data, size);
    return writer.Append(absl::MakeConstSpan(static_cast<const uint8_t*>(data), size));
  };
  auto segments = message.getSegmentsForOutput();
  std::vector<uint32_t> table = SegmentTable(segments);
  LIVEEXEC_RETURN_IF_ERROR(append(table.data(), table.size() * sizeof(uint32_t)));
  for (const auto& segment : segments) {
    LIVEEXEC_RETURN_IF_ERROR(append(segment.begin(), segment.size() * sizeof(capnp::word)));
  }

  memcpy(header.magic, kMagic, sizeof(kMagic));
  header.format_version = kFormatVersion;
  header.header_size = kImageHeaderSize;
  header.generation = stamp.generation;
  std::copy(stamp.nonce.begin(), stamp.nonce.end(), header.nonce);
  header.length = writer.size() - kImageHeaderSize;
  header.checksum = XXH3_64bits_digest(&checksum);
  header.header_checksum = HeaderChecksum(header);
  LIVEEXEC_RETURN_IF_ERROR(writer.WriteAt(0, header_bytes));

  WrittenImage image;
  image.length = header.length;
  image.checksum = header.checksum;
  LIVEEXEC_ASSIGN_OR_RETURN(image.fd, std::move(writer).Seal());
  return image;
}

absl::Status VerifyImageBytes(absl::Span<const uint8_t> bytes, ImageStamp& stamp,
                              uint64_t& checksum) {
  Header header;
  if (bytes.size() < sizeof(header))
    return Damaged("E_IMAGE", "the image is shorter than its header");
  memcpy(&header, bytes.data(), sizeof(header));
  if (memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return Damaged("E_IMAGE", "this is not a liveexec image");
  }
  if (header.header_checksum != HeaderChecksum(header)) {
    return Damaged("E_CHECKSUM", "the image's header is damaged");
  }
  if (header.format_version != kFormatVersion || header.header_size != kImageHeaderSize) {
    return Damaged("E_IMAGE", absl::StrCat("image format ", header.format_version,
                                           " is unknown; this program reads ", kFormatVersion));
  }
  absl::Span<const uint8_t> message = bytes.subspan(kImageHeaderSize);
  if (header.length != message.size() || header.length % sizeof(capnp::word) != 0) {
    return Damaged("E_IMAGE", absl::StrCat("the header announces ", header.length, " bytes and ",
                                           message.size(), " are there"));
  }
  if (header.checksum != XXH3_64bits(message.data(), message.size())) {
    return Damaged("E_CHECKSUM", "the image's checksum does not match its content");
  }
  LIVEEXEC_RETURN_IF_ERROR(CheckSegmentTable(message));
  stamp.generation = header.generation;
  std::copy(std::begin(header.nonce), std::end(header.nonce), stamp.nonce.begin());
  checksum = header.checksum;
  return absl::OkStatus();
}

absl::StatusOr<ImageFile> ImageFile::Open(Syscalls& syscalls, int fd, const ImageStamp* expected) {
  ImageFile image;
  auto mapping = SealedMapping::Open(syscalls, fd);
  // A seal is missing, or this is nothing that could have one.
  if (absl::IsFailedPrecondition(mapping.status()) || absl::IsInvalidArgument(mapping.status())) {
    return Damaged("E_SEAL", std::string(mapping.status().message()));
  }
  if (!mapping.ok()) return WithCode(mapping.status(), "E_MEMORY");
  image.mapping_ = *std::move(mapping);
  absl::Span<const uint8_t> bytes = image.mapping_.bytes();
  LIVEEXEC_RETURN_IF_ERROR(VerifyImageBytes(bytes, image.stamp_, image.checksum_));
  if (expected != nullptr && !(image.stamp_ == *expected)) {
    return Damaged("E_STAMP", "the image belongs to another upgrade");
  }
  size_t words = (bytes.size() - kImageHeaderSize) / sizeof(capnp::word);
  capnp::ReaderOptions options;
  // A reader may walk its data several times; a hostile message that points to itself, or claims a
  // million elements that take no space, must still end, and soon.
  options.traversalLimitInWords = uint64_t{words} * 16 + (1 << 16);
  LIVEEXEC_RETURN_IF_ERROR(GuardedCall("open image", [&] {
    image.reader_ = std::make_unique<capnp::FlatArrayMessageReader>(
        kj::arrayPtr(reinterpret_cast<const capnp::word*>(bytes.data() + kImageHeaderSize), words),
        options);
    return absl::OkStatus();
  }));
  return image;
}

}  // namespace liveexec
