#include "tests/fuzz/fuzzing.h"

#include <capnp/serialize.h>
#include <fcntl.h>

#include <cstdio>
#include <cstdlib>

#include "core/syscalls.h"
#include "core/unique_fd.h"
#include "handoff/testing/image_bytes.h"

namespace liveexec::fuzz {

void Fail(std::string_view what, const char* file, int line) {
  fprintf(stderr, "%s:%d: does not hold: %.*s\n", file, line, static_cast<int>(what.size()),
          what.data());
  abort();
}

uint8_t Input::Byte() {
  if (size_ == 0) return 0;
  --size_;
  return *data_++;
}

absl::StatusOr<ImageFile> ImageOf(std::string_view message) {
  std::vector<uint8_t> bytes(message.begin(), message.end());
  bytes.resize((bytes.size() + 7) / 8 * 8);
  const UniqueFd fd = SealedWith(ImageAround(ImageStamp{}, bytes));
  return ImageFile::Open(Syscalls::Kernel(), fd.get(), nullptr);
}

std::string Flat(capnp::MessageBuilder& message) {
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = words.asChars();
  return {bytes.begin(), bytes.size()};
}

int NoFdIsLeaked::LowestUnused() {
  const UniqueFd probe(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
  return probe.get();
}

}  // namespace liveexec::fuzz
