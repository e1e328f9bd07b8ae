#include "handoff/testing/image_bytes.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "core/sealed_memfd.h"
#include "core/syscalls.h"

namespace liveexec {
namespace {

// From the table in image_file.h.
constexpr size_t kLengthAt = 40, kChecksumAt = 48, kHeaderChecksumAt = 56;

void Put(ImageBytes& bytes, size_t at, uint64_t value) {
  memcpy(bytes.data() + at, &value, sizeof(value));
}

}  // namespace

ImageBytes BytesOf(const ImageStamp& stamp, capnp::MessageBuilder& message) {
  auto image = WriteImage(Syscalls::Kernel(), "liveexec-test", stamp, message);
  if (!image.ok()) abort();
  auto mapping = SealedMapping::Open(Syscalls::Kernel(), image->fd.get());
  if (!mapping.ok()) abort();
  return ImageBytes(mapping->bytes().begin(), mapping->bytes().end());
}

ImageBytes ImageAround(const ImageStamp& stamp, const std::vector<uint8_t>& message) {
  ImageBytes bytes(kImageHeaderSize + message.size());
  const uint32_t version = 1, header_size = 64;
  memcpy(bytes.data(), "LVXIMAGE", 8);
  memcpy(bytes.data() + 8, &version, sizeof(version));
  memcpy(bytes.data() + 12, &header_size, sizeof(header_size));
  Put(bytes, 16, stamp.generation);
  std::copy(stamp.nonce.begin(), stamp.nonce.end(), bytes.begin() + 24);
  std::copy(message.begin(), message.end(), bytes.begin() + kImageHeaderSize);
  FixHeader(bytes);
  return bytes;
}

void FixHeaderChecksum(ImageBytes& bytes) {
  Put(bytes, kHeaderChecksumAt, XXH3_64bits(bytes.data(), kHeaderChecksumAt));
}

void FixHeader(ImageBytes& bytes) {
  size_t length = bytes.size() - kImageHeaderSize;
  Put(bytes, kLengthAt, length);
  Put(bytes, kChecksumAt, XXH3_64bits(bytes.data() + kImageHeaderSize, length));
  FixHeaderChecksum(bytes);
}

UniqueFd SealedWith(const std::vector<uint8_t>& bytes) {
  auto writer = MemfdWriter::Create(Syscalls::Kernel(), "liveexec-test");
  if (!writer.ok() || !writer->Append(bytes).ok()) abort();
  auto fd = std::move(*writer).Seal();
  if (!fd.ok()) abort();
  return *std::move(fd);
}

std::vector<uint8_t> Words(const std::vector<uint64_t>& words) {
  std::vector<uint8_t> bytes(words.size() * sizeof(uint64_t));
  if (!words.empty()) memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

}  // namespace liveexec
