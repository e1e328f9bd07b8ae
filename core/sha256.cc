#include "core/sha256.h"

#include <sha2.h>

#include <vector>

#include "core/clock.h"
#include "core/error.h"

namespace liveexec {

absl::StatusOr<std::string> Sha256OfFile(Syscalls& syscalls, int fd, int64_t deadline_ns) {
  SHA2_CTX context;
  SHA256Init(&context);
  std::vector<uint8_t> buffer(256 << 10);
  for (int64_t offset = 0;;) {
    if (MonotonicNs() > deadline_ns) {
      return absl::DeadlineExceededError("reading the file took too long");
    }
    int64_t count = syscalls.Pread(fd, buffer.data(), buffer.size(), offset);
    if (count < 0) return ErrnoError(static_cast<int>(-count), "read the file");
    if (count == 0) break;
    SHA256Update(&context, buffer.data(), static_cast<size_t>(count));
    offset += count;
  }
  char text[SHA256_DIGEST_STRING_LENGTH];
  SHA256End(&context, text);
  return std::string(text);
}

}  // namespace liveexec
