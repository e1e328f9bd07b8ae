// Sealed memfds: files in memory that nobody can change any more, so that what was checked stays
// checked.
//
// Old program:  MemfdWriter::Create, Append..., Seal -> an fd to hand over.
// New program:  SealedMapping::Open(fd) -> the bytes, after the seals have been looked at.
//
// A memfd that somebody could still write, shrink or grow is refused: reading a mapping that
// shrinks is SIGBUS, and one that changes after its checksum was verified is worse.
#ifndef LIVEEXEC_CORE_SEALED_MEMFD_H_
#define LIVEEXEC_CORE_SEALED_MEMFD_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"

namespace liveexec {

class MemfdWriter {
 public:
  // `name` is what /proc/PID/fd shows. Never executable (MFD_NOEXEC_SEAL where the kernel has it).
  // Errors carry the errno: ENFILE, EMFILE, ENOMEM.
  static absl::StatusOr<MemfdWriter> Create(Syscalls& syscalls, const char* name);

  // Errors carry the errno: ENOSPC, ENOMEM; EFBIG when RLIMIT_FSIZE is in the way (the caller
  // blocks SIGXFSZ).
  absl::Status Append(absl::Span<const uint8_t> bytes);
  // Overwrites bytes that were appended before.
  absl::Status WriteAt(uint64_t offset, absl::Span<const uint8_t> bytes);
  uint64_t size() const { return size_; }

  // Adds all seals and gives the fd away. EBUSY if anybody holds a writable mapping.
  absl::StatusOr<UniqueFd> Seal() &&;

 private:
  MemfdWriter(Syscalls& syscalls, UniqueFd fd) : syscalls_(&syscalls), fd_(std::move(fd)) {}

  Syscalls* syscalls_;
  UniqueFd fd_;
  uint64_t size_ = 0;
};

// A read-only private mapping of a sealed memfd. Move-only; unmaps in its destructor.
class SealedMapping {
 public:
  // `fd` is borrowed and may be closed afterwards. FailedPrecondition: a seal is missing. The
  // mapping is left out of core dumps: images hold what the application holds, secrets included.
  static absl::StatusOr<SealedMapping> Open(Syscalls& syscalls, int fd);

  SealedMapping() = default;
  SealedMapping(SealedMapping&& other) noexcept;
  SealedMapping& operator=(SealedMapping&& other) noexcept;
  ~SealedMapping();

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  SealedMapping(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_SEALED_MEMFD_H_
