// An image's header and segment table. The input's first byte says which checksums are made right
// again, so that the fuzzer gets behind them; the rest is the image.
#include <algorithm>
#include <vector>

#include "core/syscalls.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"
#include "handoff/image_file.h"
#include "handoff/testing/image_bytes.h"
#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {
namespace {

// The message's own size, found by walking all of it: what a copy of it would do.
void Walk(ImageFile& image) {
  GuardedCall("walk", [&] {
    image.message().getRoot<capnp::AnyPointer>().targetSize();
    return absl::OkStatus();
  }).IgnoreError();
}

void Check(std::vector<uint8_t> bytes, uint8_t repair) {
  if (bytes.size() >= kImageHeaderSize) {
    if ((repair & 1) != 0) FixHeader(bytes);
    if ((repair & 2) != 0) FixHeaderChecksum(bytes);
  }
  ImageStamp stamp;
  uint64_t checksum = 0;
  const absl::Status verified = VerifyImageBytes(bytes, stamp, checksum);
  // In a file it is judged the same, and what was verified can be opened.
  const NoFdIsLeaked closed;
  const UniqueFd fd = SealedWith(bytes);
  auto image = ImageFile::Open(Syscalls::Kernel(), fd.get(), nullptr);
  if (bytes.empty()) return FUZZ_CHECK(!verified.ok() && !image.ok());
  FUZZ_CHECK(image.ok() == verified.ok());
  if (!verified.ok()) {
    FUZZ_CHECK(absl::IsDataLoss(verified));
    FUZZ_CHECK(CodeOf(image.status()) == CodeOf(verified));
    return;
  }
  FUZZ_CHECK(image->length() == bytes.size() - kImageHeaderSize);
  FUZZ_CHECK(image->checksum() == checksum);
  FUZZ_CHECK(image->stamp() == stamp);
  Walk(*image);
  // Another upgrade's image is refused, whatever else is right.
  stamp.nonce[0] ^= 1;
  FUZZ_CHECK(CodeOf(ImageFile::Open(Syscalls::Kernel(), fd.get(), &stamp).status()) == "E_STAMP");
}

}  // namespace
}  // namespace liveexec::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveexec::fuzz::Input input(data, size);
  const uint8_t repair = input.Byte();
  const std::string_view rest = input.Rest();
  liveexec::fuzz::Check({rest.begin(), rest.end()}, repair);
  return 0;
}
