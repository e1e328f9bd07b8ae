// What the fuzz targets share: a check that holds in every build, a reader of the input, and images
// around bytes that the fuzzer made.
#ifndef LIVEEXEC_TESTS_FUZZ_FUZZING_H_
#define LIVEEXEC_TESTS_FUZZ_FUZZING_H_

#include <capnp/message.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "handoff/image_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace liveexec::fuzz {

// Prints what did not hold and aborts: the fuzzer keeps the input, the corpus test fails.
[[noreturn]] void Fail(std::string_view what, const char* file, int line);

#define FUZZ_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::liveexec::fuzz::Fail(#condition, __FILE__, __LINE__))
#define FUZZ_CHECK_OK(status) ::liveexec::fuzz::CheckOk(status, __FILE__, __LINE__)

inline void CheckOk(const absl::Status& status, const char* file, int line) {
  if (!status.ok()) Fail(status.ToString(), file, line);
}

// Hands the input out from its front. Beyond its end everything is zero.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  uint8_t Byte();
  bool empty() const { return size_ == 0; }
  std::string_view Rest() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const uint8_t* data_;
  size_t size_;
};

// An image with `message` in it, whatever that is, opened through the door that every image takes:
// sealed, with a right header. The message is padded to whole words.
absl::StatusOr<ImageFile> ImageOf(std::string_view message);

// A message as one sequence of bytes, for comparison.
std::string Flat(capnp::MessageBuilder& message);

// Fails unless the number of the lowest unused fd is the same at its end: everything was closed.
class NoFdIsLeaked {
 public:
  NoFdIsLeaked() : before_(LowestUnused()) {}
  ~NoFdIsLeaked() { FUZZ_CHECK(LowestUnused() == before_); }
  NoFdIsLeaked(const NoFdIsLeaked&) = delete;
  NoFdIsLeaked& operator=(const NoFdIsLeaked&) = delete;

 private:
  static int LowestUnused();
  const int before_;
};

}  // namespace liveexec::fuzz

#endif  // LIVEEXEC_TESTS_FUZZ_FUZZING_H_
