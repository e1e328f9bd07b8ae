// ResidentRegion: memory that a process keeps while its program changes.
//
// A memfd, mapped at one address in every program, so that what is in it may hold pointers into it.
// It crosses by passing its fd; what that costs does not depend on how much is in it. The first
// page says what the region is; behind it is a heap (resident_heap.h).
//
//   old program                                   new program
//   auto region = ResidentRegion::Create(...);
//   region->heap().set_root(MakeState(...));
//   region->Quiesce(nonce);                       auto region = ResidentRegion::Attach(...);
//   ... pass region->fd() and the nonce ...       State* state = region->heap().root();
//                                                 // read-only: a write is SIGSEGV
//                                                 region->MakeWritable();
//
// What is in a region is as trusted as the program that wrote it: Attach finds a region that is not
// the one which was handed over, or which was not at rest, by looking at its first page. It does
// not, and cannot at a constant cost, look at what is in it.
//
// Errors tell the cases apart by their code:
//   AlreadyExists        the address is taken in this program
//   FailedPrecondition   not that region: not a memfd of that size, another layout, base or id
//   DataLoss             that region, but torn: in use, in the middle of an update, or changed
//                        since it was quiesced
//   others               the system's, with the errno
//
// Move-only. Not thread-safe. Unmaps the memory and closes the fd when destroyed: nothing may refer
// to what is in it then.
#ifndef LIVEEXEC_CORE_RESIDENT_REGION_H_
#define LIVEEXEC_CORE_RESIDENT_REGION_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/resident_heap.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"

namespace liveexec {

using ResidentNonce = std::array<uint8_t, 16>;

// What identifies a region, and where it has to be. Passed along with its fd.
struct ResidentPlace {
  uint64_t layout = 0;    // fingerprint of the types in it: see ResidentLayout
  uint64_t base = 0;      // address
  uint64_t capacity = 0;  // bytes
  ResidentNonce id = {};  // random, of this region
};

class ResidentRegion {
 public:
  // 1 MiB to 8 TiB, in bytes.
  static constexpr uint64_t kLeastCapacity = uint64_t{1} << 20;
  static constexpr uint64_t kMostCapacity = uint64_t{1} << 43;

  // A new, empty region for types of `layout`, writable. `capacity` is rounded up to a multiple of
  // 2 MiB; it is address space, of which pages are taken as they are used. ResourceExhausted:
  // RLIMIT_FSIZE or the address space (RLIMIT_AS) do not allow it.
  static absl::StatusOr<ResidentRegion> Create(Syscalls& syscalls, uint64_t layout,
                                               uint64_t capacity);

  // The region behind `fd`, read-only, quiesced with `nonce`.
  static absl::StatusOr<ResidentRegion> Attach(Syscalls& syscalls, UniqueFd fd,
                                               const ResidentPlace& place,
                                               const ResidentNonce& nonce);
  // For a rehearsal: looks only at what does not change while another program uses the region.
  // `fd` may be read-only.
  static absl::StatusOr<ResidentRegion> AttachLive(Syscalls& syscalls, UniqueFd fd,
                                                   const ResidentPlace& place);

  ResidentRegion(ResidentRegion&& other) noexcept;
  ResidentRegion& operator=(ResidentRegion&& other) noexcept;
  ~ResidentRegion();

  // From here on the memory is this program's: the region is in use.
  absl::Status MakeWritable();

  // Notes that the region is at rest, to be handed over with `nonce`. DataLoss when an update is
  // open. Until Resume nothing in it may change: Unchanged tells.
  absl::Status Quiesce(const ResidentNonce& nonce);
  absl::Status Unchanged() const;
  void Resume();

  ResidentPlace place() const;
  int fd() const { return fd_.get(); }
  ResidentHeap& heap();
  const ResidentHeap& heap() const;

 private:
  struct Header;

  ResidentRegion(Syscalls& syscalls, UniqueFd fd, Header* header, uint64_t capacity)
      : syscalls_(&syscalls), fd_(std::move(fd)), header_(header), capacity_(capacity) {}
  static absl::StatusOr<ResidentRegion> Map(Syscalls& syscalls, UniqueFd fd,
                                            const ResidentPlace& place);
  static absl::Status CheckFile(Syscalls& syscalls, int fd, const ResidentPlace& place);
  static uint64_t ChecksumOf(const Header& header);

  Syscalls* syscalls_;
  UniqueFd fd_;
  Header* header_;
  uint64_t capacity_;
};

// The most that a region can have here: what the machine's memory, RLIMIT_FSIZE and half of what
// RLIMIT_AS leaves allow. In bytes.
uint64_t DefaultResidentCapacity(Syscalls& syscalls);

// ResidentLayout: the fingerprint of the types in a region, computed by the compiler. Programs
// whose fingerprints are equal may read each other's regions.
//
//   constexpr uint64_t kLayout = liveexec::ResidentLayout("server-state", 3)
//       .Type<State>().Type<Entry>().Number(offsetof(Entry, value)).fingerprint();
//
// The number counts what the compiler does not see: change it when a field means something else.
// What the ABI contributes (pointers, byte order, the standard library's) is in it already.
class ResidentLayout {
 public:
  constexpr ResidentLayout(std::string_view name, uint64_t version) {
    for (char c : name) Number(static_cast<unsigned char>(c));
    Number(version).Number(ResidentHeap::kFormat);
    Number(sizeof(void*)).Number(sizeof(long)).Number(sizeof(wchar_t)).Number(alignof(max_align_t));
    Number(std::endian::native == std::endian::little);
#ifdef _GLIBCXX_USE_CXX11_ABI
    Number(_GLIBCXX_USE_CXX11_ABI);
#endif
#ifdef _LIBCPP_VERSION
    Number(_LIBCPP_VERSION / 10000 + 100);
#endif
#ifdef _GLIBCXX_DEBUG
    Number(1);
#endif
  }

  template <typename T>
  constexpr ResidentLayout& Type() {
    return Number(sizeof(T)).Number(alignof(T));
  }
  constexpr ResidentLayout& Number(uint64_t number) {
    // FNV-1a, a byte at a time.
    for (int i = 0; i < 8; ++i, number >>= 8) hash_ = (hash_ ^ (number & 0xff)) * 0x100000001b3u;
    return *this;
  }
  // Below 2^62 and never 0: see LIVEEXEC_RESIDENT_LAYOUT in handoff/program_note.h.
  constexpr uint64_t fingerprint() const { return (hash_ >> 2) | 1; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_RESIDENT_REGION_H_
