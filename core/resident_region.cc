#define XXH_INLINE_ALL
#include "core/resident_region.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "core/error.h"

// Linux 6.3; Debian 12's headers do not know it.
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace liveexec {
namespace {

constexpr char kMagic[8] = {'L', 'V', 'L', 'R', 'E', 'S', 'I', 'D'};
constexpr uint64_t kHugePage = 2 << 20;
constexpr uint64_t kFirstPage = ResidentHeap::kPageBytes;

// Where programs are not: addresses that neither programs (position independent or not), their
// heaps, mappings and stacks use, nor sanitizers for their shadows and heaps. Tried in this order.
struct Window {
  uint64_t begin;
  uint64_t end;
};
#if defined(__x86_64__)
constexpr Window kWindows[] = {
    // Below where the kernel puts position independent programs. The thread sanitizer allows
    // nothing else.
    {0x550000000000, 0x555500000000},
    // Above the address sanitizer's shadow, which ends at 0x10007fff8000.
    {0x200000000000, 0x500000000000},
};
#else
constexpr Window kWindows[] = {
    {0x400000000000, 0x800000000000},  // 48 bits of address
    {0x2000000000, 0x5000000000},      // 39 bits
};
#endif
constexpr int kTries = 4096;  // places in a window

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

enum class State : uint32_t { kInUse = 1, kQuiesced = 2 };

absl::Status Foreign(std::string_view what) {
  return absl::FailedPreconditionError(
      absl::StrCat("not the resident memory that was handed over: ", std::string(what)));
}

absl::Status Torn(std::string_view what) {
  return absl::DataLossError(absl::StrCat("resident memory is torn: ", std::string(what)));
}

absl::StatusOr<UniqueFd> MakeFile(Syscalls& syscalls, uint64_t capacity) {
  struct rlimit limit;
  // Beyond it the kernel would send SIGXFSZ.
  if (syscalls.Getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < capacity) {
    return absl::ResourceExhaustedError(absl::StrCat("RLIMIT_FSIZE is ", limit.rlim_cur,
                                                     " bytes, which leaves no room for ", capacity,
                                                     " bytes of resident memory"));
  }
  int fd =
      syscalls.MemfdCreate("liveexec-resident", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd == -EINVAL)
    fd = syscalls.MemfdCreate("liveexec-resident", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return ErrnoError(-fd, "memfd_create for resident memory");
  UniqueFd file(fd);
  if (int result = syscalls.Ftruncate(fd, static_cast<int64_t>(capacity)); result < 0) {
    return ErrnoError(-result, "size resident memory");
  }
  // A mapping that its file no longer reaches is SIGBUS.
  if (int result = syscalls.Fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW); result < 0) {
    return ErrnoError(-result, "seal the size of resident memory");
  }
  return file;
}

void Advise(Syscalls& syscalls, void* address, uint64_t capacity) {
  // Both are wishes. It holds what the application holds, secrets included; and huge pages are what
  // some machines have for shared memory, if it is asked for.
  syscalls.Madvise(address, capacity, MADV_DONTDUMP);
  syscalls.Madvise(address, capacity, MADV_HUGEPAGE);
}

absl::StatusOr<void*> MapAt(Syscalls& syscalls, uint64_t base, uint64_t capacity, int protection,
                            int fd) {
  int error = 0;
  auto* wanted = reinterpret_cast<void*>(base);
  void* address =
      syscalls.MmapAt(wanted, capacity, protection, MAP_SHARED | MAP_NORESERVE, fd, &error);
  if (address != nullptr) return address;
  if (error == -EEXIST) {
    return absl::AlreadyExistsError(absl::StrCat("something of this program is at 0x",
                                                 absl::Hex(base), ", where ", capacity,
                                                 " bytes of resident memory have to be"));
  }
  return ErrnoError(-error, absl::StrCat("map ", capacity, " bytes of resident memory"));
}

// The first place that is free.
absl::StatusOr<void*> MapSomewhere(Syscalls& syscalls, uint64_t capacity, int fd) {
  const uint64_t step = RoundUp(capacity, uint64_t{1} << 30);
  absl::Status taken = absl::ResourceExhaustedError(
      absl::StrCat("no place for ", capacity, " bytes of resident memory"));
  for (const Window& window : kWindows) {
    uint64_t base = window.begin;
    for (int i = 0; i < kTries && capacity <= window.end - base; ++i, base += step) {
      auto address = MapAt(syscalls, base, capacity, PROT_READ | PROT_WRITE, fd);
      if (address.ok() || !absl::IsAlreadyExists(address.status())) return address;
      if (step > window.end - base) break;
    }
  }
  return taken;
}

}  // namespace

struct ResidentRegion::Header {
  // Written once.
  char magic[8];
  uint32_t format;
  uint32_t header_bytes;
  uint64_t layout;
  uint64_t base;
  uint64_t capacity;
  ResidentNonce id;
  // Of each crossing.
  State state;
  uint32_t reserved;
  ResidentNonce nonce;
  uint64_t checksum;  // of the header when it was quiesced, this field taken as 0
  ResidentHeap heap;
};

uint64_t ResidentRegion::ChecksumOf(const Header& header) {
  static_assert(sizeof(Header) <= kFirstPage);
  static_assert(std::is_trivially_copyable_v<ResidentNonce>);
  alignas(Header) unsigned char copy[sizeof(Header)];
  memcpy(copy, &header, sizeof(copy));
  memset(copy + offsetof(Header, checksum), 0, sizeof(header.checksum));
  return XXH3_64bits(copy, sizeof(copy));
}

absl::StatusOr<ResidentRegion> ResidentRegion::Create(Syscalls& syscalls, uint64_t layout,
                                                      uint64_t capacity) {
  capacity = RoundUp(std::max(capacity, kLeastCapacity), kHugePage);
  if (capacity > kMostCapacity) {
    return absl::InvalidArgumentError("resident memory has at most 8 TiB");
  }
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, MakeFile(syscalls, capacity));
  ResidentPlace place{.layout = layout, .base = 0, .capacity = capacity, .id = {}};
  if (getrandom(place.id.data(), place.id.size(), 0) != static_cast<ssize_t>(place.id.size())) {
    return ErrnoError(errno, "getrandom");
  }
  LIVEEXEC_ASSIGN_OR_RETURN(void* address, MapSomewhere(syscalls, capacity, fd.get()));
  Advise(syscalls, address, capacity);
  // By a write to the file, which fails where a write to the mapping would be SIGBUS.
  const char zeros[ResidentHeap::kCommittedAtFirst] = {};
  if (int64_t written = syscalls.Pwrite(fd.get(), zeros, sizeof(zeros), 0);
      written != static_cast<int64_t>(sizeof(zeros))) {
    ::munmap(address, capacity);
    return ErrnoError(written < 0 ? static_cast<int>(-written) : ENOSPC, "begin resident memory");
  }
  auto* header = static_cast<Header*>(address);
  memcpy(header->magic, kMagic, sizeof(kMagic));
  header->format = ResidentHeap::kFormat;
  header->header_bytes = sizeof(Header);
  header->layout = layout;
  header->base = reinterpret_cast<uint64_t>(address);
  header->capacity = capacity;
  header->id = place.id;
  header->state = State::kInUse;
  new (&header->heap) ResidentHeap(header->base, capacity);
  return ResidentRegion(syscalls, std::move(fd), header, capacity);
}

absl::Status ResidentRegion::CheckFile(Syscalls& syscalls, int fd, const ResidentPlace& place) {
  const int seals = syscalls.Fcntl(fd, F_GET_SEALS, 0);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return Foreign("a file that could shrink");
  struct stat file;
  if (int result = syscalls.Fstat(fd, &file); result < 0) {
    return ErrnoError(-result, "fstat resident memory");
  }
  const auto size = static_cast<uint64_t>(file.st_size);
  if (size != place.capacity || size < kLeastCapacity || size > kMostCapacity ||
      size % kHugePage != 0 || place.base % kHugePage != 0 || place.base == 0) {
    return Foreign("its size or address cannot be");
  }
  alignas(Header) unsigned char page[sizeof(Header)];
  int64_t count = syscalls.Pread(fd, page, sizeof(page), 0);
  if (count < 0) return ErrnoError(static_cast<int>(-count), "read resident memory");
  if (count != static_cast<int64_t>(sizeof(page))) return Foreign("it has no header");
  const auto* header = reinterpret_cast<const Header*>(page);
  if (memcmp(header->magic, kMagic, sizeof(kMagic)) != 0) return Foreign("no header of ours");
  if (header->format != ResidentHeap::kFormat || header->header_bytes != sizeof(Header)) {
    return Foreign("another format");
  }
  if (header->layout != place.layout) return Foreign("another layout");
  if (header->base != place.base || header->capacity != place.capacity) {
    return Foreign("another place");
  }
  if (header->id != place.id) return Foreign("another region");
  return absl::OkStatus();
}

absl::StatusOr<ResidentRegion> ResidentRegion::Map(Syscalls& syscalls, UniqueFd fd,
                                                   const ResidentPlace& place) {
  LIVEEXEC_RETURN_IF_ERROR(CheckFile(syscalls, fd.get(), place));
  LIVEEXEC_ASSIGN_OR_RETURN(void* address,
                            MapAt(syscalls, place.base, place.capacity, PROT_READ, fd.get()));
  Advise(syscalls, address, place.capacity);
  return ResidentRegion(syscalls, std::move(fd), static_cast<Header*>(address), place.capacity);
}

absl::StatusOr<ResidentRegion> ResidentRegion::AttachLive(Syscalls& syscalls, UniqueFd fd,
                                                          const ResidentPlace& place) {
  return Map(syscalls, std::move(fd), place);
}

absl::StatusOr<ResidentRegion> ResidentRegion::Attach(Syscalls& syscalls, UniqueFd fd,
                                                      const ResidentPlace& place,
                                                      const ResidentNonce& nonce) {
  LIVEEXEC_ASSIGN_OR_RETURN(ResidentRegion region, Map(syscalls, std::move(fd), place));
  const Header& header = *region.header_;
  if (header.state != State::kQuiesced) return Torn("a program was using it");
  if (header.nonce != nonce) return Torn("it was quiesced for another upgrade");
  if (header.checksum != ChecksumOf(header)) return Torn("it was changed after it was quiesced");
  if (header.heap.in_update()) return Torn("an update had begun and not ended");
  if (!header.heap.LooksValid(place.base, place.capacity)) return Torn("its heap cannot be");
  return region;
}

ResidentRegion::ResidentRegion(ResidentRegion&& other) noexcept
    : syscalls_(other.syscalls_),
      fd_(std::move(other.fd_)),
      header_(std::exchange(other.header_, nullptr)),
      capacity_(other.capacity_) {}

ResidentRegion& ResidentRegion::operator=(ResidentRegion&& other) noexcept {
  std::swap(syscalls_, other.syscalls_);
  std::swap(fd_, other.fd_);
  std::swap(header_, other.header_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

ResidentRegion::~ResidentRegion() {
  if (header_ != nullptr) ::munmap(header_, capacity_);
}

absl::Status ResidentRegion::MakeWritable() {
  if (int result = syscalls_->Mprotect(header_, capacity_, PROT_READ | PROT_WRITE); result < 0) {
    return ErrnoError(-result, "make resident memory writable");
  }
  Resume();
  return absl::OkStatus();
}

absl::Status ResidentRegion::Quiesce(const ResidentNonce& nonce) {
  if (header_->heap.in_update()) return Torn("an update has begun and not ended");
  header_->state = State::kQuiesced;
  header_->nonce = nonce;
  header_->checksum = ChecksumOf(*header_);
  return absl::OkStatus();
}

absl::Status ResidentRegion::Unchanged() const {
  if (header_->state == State::kQuiesced && header_->checksum == ChecksumOf(*header_)) {
    return absl::OkStatus();
  }
  return Torn("it was changed after it was quiesced");
}

void ResidentRegion::Resume() { header_->state = State::kInUse; }

ResidentPlace ResidentRegion::place() const {
  return {.layout = header_->layout,
          .base = header_->base,
          .capacity = header_->capacity,
          .id = header_->id};
}

ResidentHeap& ResidentRegion::heap() { return header_->heap; }
const ResidentHeap& ResidentRegion::heap() const { return header_->heap; }

uint64_t DefaultResidentCapacity(Syscalls& syscalls) {
  struct sysinfo machine;
  uint64_t capacity = uint64_t{1} << 30;
  if (::sysinfo(&machine) == 0) {
    capacity = std::max(
        capacity, (uint64_t{machine.totalram} + machine.totalswap) * uint64_t{machine.mem_unit});
  }
  struct rlimit limit;
  if (syscalls.Getrlimit(RLIMIT_FSIZE, &limit) == 0) {
    capacity = std::min<uint64_t>(capacity, limit.rlim_cur);
  }
  if (syscalls.Getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    uint64_t pages = 0;
    if (FILE* file = fopen("/proc/self/statm", "re"); file != nullptr) {
      unsigned long total = 0;
      if (fscanf(file, "%lu", &total) == 1) pages = total;
      fclose(file);
    }
    const uint64_t taken = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    capacity = std::min(capacity, limit.rlim_cur > taken ? (limit.rlim_cur - taken) / 2 : 0);
  }
  return std::max(capacity / kHugePage * kHugePage, kHugePage);
}

}  // namespace liveexec
