// The manifest, behind its header. What can be read is written and read again, and is then the
// same.
#include "handoff/manifest.h"

#include "handoff/error_code.h"
#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {
namespace {

std::string Written(const Manifest& manifest) {
  capnp::MallocMessageBuilder message;
  WriteManifest(manifest, message.initRoot<image::Manifest>());
  return Flat(message);
}

void Check(std::string_view bytes) {
  auto image = ImageOf(bytes);
  if (!image.ok()) return;
  const auto manifest = ReadManifest(image->message());
  if (!manifest.ok()) {
    FUZZ_CHECK(CodeOf(manifest.status()) == "E_MANIFEST");
    return;
  }
  const std::string once = Written(*manifest);
  auto second = ImageOf(once);
  FUZZ_CHECK_OK(second.status());
  const auto again = ReadManifest(second->message());
  FUZZ_CHECK_OK(again.status());
  FUZZ_CHECK(again->fds.size() == manifest->fds.size());
  FUZZ_CHECK(Written(*again) == once);
}

}  // namespace
}  // namespace liveexec::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveexec::fuzz::Check({reinterpret_cast<const char*>(data), size});
  return 0;
}
