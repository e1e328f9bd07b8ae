// Images as bytes, to be damaged, and sealed memfds with such bytes.
#ifndef LIVEEXEC_HANDOFF_TESTING_IMAGE_BYTES_H_
#define LIVEEXEC_HANDOFF_TESTING_IMAGE_BYTES_H_

#include <capnp/message.h>

#include <cstdint>
#include <vector>

#include "core/unique_fd.h"
#include "handoff/image_file.h"

namespace liveexec {

using ImageBytes = std::vector<uint8_t>;

// What WriteImage writes.
ImageBytes BytesOf(const ImageStamp& stamp, capnp::MessageBuilder& message);

// An image around `message`, whatever that is: length and checksums are right.
ImageBytes ImageAround(const ImageStamp& stamp, const std::vector<uint8_t>& message);

// Makes the header's own checksum right again, after a field of it was changed.
void FixHeaderChecksum(ImageBytes& bytes);
// Makes length, checksum and the header's checksum right again.
void FixHeader(ImageBytes& bytes);

// A memfd with these bytes, and all seals.
UniqueFd SealedWith(const std::vector<uint8_t>& bytes);

// Words of a Cap'n Proto message, little-endian: one 64-bit value each.
std::vector<uint8_t> Words(const std::vector<uint64_t>& words);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_TESTING_IMAGE_BYTES_H_
