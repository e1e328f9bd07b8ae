#include "core/sealed_memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <utility>

#include "core/error.h"

// Linux 6.3; Debian 12's headers do not know it.
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace liveexec {
namespace {
constexpr int kAllSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
}

absl::StatusOr<MemfdWriter> MemfdWriter::Create(Syscalls& syscalls, const char* name) {
  int fd = syscalls.MemfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd == -EINVAL) fd = syscalls.MemfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return ErrnoError(-fd, "memfd_create");
  return MemfdWriter(syscalls, UniqueFd(fd));
}

absl::Status MemfdWriter::Append(absl::Span<const uint8_t> bytes) {
  LIVEEXEC_RETURN_IF_ERROR(WriteAt(size_, bytes));
  size_ += bytes.size();
  return absl::OkStatus();
}

absl::Status MemfdWriter::WriteAt(uint64_t offset, absl::Span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    int64_t written =
        syscalls_->Pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<int64_t>(offset));
    if (written < 0) return ErrnoError(static_cast<int>(-written), "write to memfd");
    if (written == 0) return ErrnoError(ENOSPC, "write to memfd");
    offset += static_cast<uint64_t>(written);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> MemfdWriter::Seal() && {
  if (int result = syscalls_->Fcntl(fd_.get(), F_ADD_SEALS, kAllSeals); result < 0) {
    return ErrnoError(-result, "seal memfd");
  }
  return std::move(fd_);
}

absl::StatusOr<SealedMapping> SealedMapping::Open(Syscalls& syscalls, int fd) {
  int seals = syscalls.Fcntl(fd, F_GET_SEALS, 0);
  if (seals < 0) return ErrnoError(-seals, "not a memfd that can be sealed");
  if ((seals & kAllSeals) != kAllSeals) {
    return absl::FailedPreconditionError("a memfd was handed over without all its seals");
  }
  struct stat file;
  if (int result = syscalls.Fstat(fd, &file); result < 0) return ErrnoError(-result, "fstat memfd");
  if (file.st_size == 0) return SealedMapping();
  int error = 0;
  size_t size = static_cast<size_t>(file.st_size);
  void* data = syscalls.Mmap(size, PROT_READ, MAP_PRIVATE, fd, &error);
  if (data == nullptr) return ErrnoError(-error, "map memfd");
  ::madvise(data, size, MADV_DONTDUMP);
  return SealedMapping(static_cast<const uint8_t*>(data), size);
}

SealedMapping::SealedMapping(SealedMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

SealedMapping& SealedMapping::operator=(SealedMapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

SealedMapping::~SealedMapping() {
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), size_);
}

}  // namespace liveexec
