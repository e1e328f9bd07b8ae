// ImageFile: one Cap'n Proto message in a sealed memfd, with a header that says whose it is and a
// checksum.
//
// The format is in docs/protocol.md. All integers are little-endian.
//
//   offset  size
//   0       8     magic "LVXIMAGE"
//   8       4     format version, 1
//   12      4     header size, 64
//   16      8     generation of the program that wrote it
//   24      16    nonce of the upgrade: images of two upgrades cannot be mixed up
//   40      8     length of the message in bytes, a multiple of 8
//   48      8     XXH3-64 of the message
//   56      8     XXH3-64 of the 56 bytes before
//   64            the message: Cap'n Proto's stream framing (segment table, segments), unpacked
#ifndef LIVEEXEC_HANDOFF_IMAGE_FILE_H_
#define LIVEEXEC_HANDOFF_IMAGE_FILE_H_

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <array>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/sealed_memfd.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"

namespace liveexec {

using Nonce = std::array<uint8_t, 16>;

// Which upgrade an image belongs to.
struct ImageStamp {
  uint64_t generation = 0;
  Nonce nonce = {};

  bool operator==(const ImageStamp&) const = default;
};

inline constexpr size_t kImageHeaderSize = 64;

struct WrittenImage {
  UniqueFd fd;            // sealed
  uint64_t length = 0;    // of the message, without the header
  uint64_t checksum = 0;  // of the message
};

// Writes and seals. Errors carry the errno (ENOSPC, ENOMEM, EMFILE, EFBIG, EBUSY).
absl::StatusOr<WrittenImage> WriteImage(Syscalls& syscalls, const char* name,
                                        const ImageStamp& stamp, capnp::MessageBuilder& message);

class ImageFile {
 public:
  // Maps and verifies: seals, header, stamp (unless null: whatever it says is accepted), length,
  // checksum, segment table; in this order, so nothing is read before it is known to be bounded and
  // unchangeable. `fd` is borrowed. DataLoss, with the codes E_SEAL, E_IMAGE, E_CHECKSUM or
  // E_STAMP, for whatever is wrong.
  static absl::StatusOr<ImageFile> Open(Syscalls& syscalls, int fd, const ImageStamp* expected);

  // Reads in place. The reader's traversal limit is proportional to the image's size. Reading may
  // throw kj::Exception (see guarded_call.h).
  capnp::MessageReader& message() { return *reader_; }

  const ImageStamp& stamp() const { return stamp_; }
  uint64_t length() const { return mapping_.bytes().size() - kImageHeaderSize; }
  uint64_t checksum() const { return checksum_; }

 private:
  ImageFile() = default;

  SealedMapping mapping_;
  std::unique_ptr<capnp::FlatArrayMessageReader> reader_;
  ImageStamp stamp_;
  uint64_t checksum_ = 0;
};

// The check behind Open, on bytes alone: for fuzzing, and for images that are kept in files.
absl::Status VerifyImageBytes(absl::Span<const uint8_t> bytes, ImageStamp& stamp,
                              uint64_t& checksum);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_IMAGE_FILE_H_
