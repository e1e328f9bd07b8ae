// ResidentHeap: an allocator whose state and memory are one range of memory, so that both cross to
// another program which maps that range at the same address (resident_region.h).
//
//   ResidentHeap& heap = region.heap();
//   void* object = heap.Allocate(100);
//   std::vector<int, ResidentAllocator<int>> numbers{ResidentAllocator<int>(&heap)};
//
// Memory comes in chunks of 64 KiB. A chunk holds objects of one size class (up to 32 KiB), or
// belongs to a run of chunks that is one large object. Freed objects go back to their chunk; a
// chunk without objects joins its free neighbours and is used again for anything. Free chunks keep
// their pages up to a bound, beyond which these are given back to the system.
//
// Pages are committed (taken from the system for good) before they are handed out, so that the
// system's running out of memory is std::bad_alloc here and not a SIGBUS somewhere.
//
// It has no lock: one thread at a time. Threads that do not want to wait for each other use a heap
// each; what one heap has allocated is freed in it.
#ifndef LIVEEXEC_CORE_RESIDENT_HEAP_H_
#define LIVEEXEC_CORE_RESIDENT_HEAP_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

namespace liveexec {

class ResidentHeap {
 public:
  static constexpr size_t kChunkBytes = 64 << 10;
  static constexpr size_t kPageBytes = 4 << 10;
  static constexpr size_t kLargestSmall = kChunkBytes / 2;
  static constexpr size_t kAlignment = 16;
  // Of what it does with its memory. Part of the layout that two programs must agree on.
  static constexpr uint32_t kFormat = 1;

  // For `capacity` bytes from `base` on, both multiples of kChunkBytes, all zero. The first page is
  // the owner's, who has this object in it; it and the next one are backed by memory.
  static constexpr size_t kCommittedAtFirst = 2 * kPageBytes;
  ResidentHeap(uintptr_t base, uint64_t capacity);
  ResidentHeap(const ResidentHeap&) = delete;
  ResidentHeap& operator=(const ResidentHeap&) = delete;

  // At least `size` bytes, aligned to 16, of any content. Throws std::bad_alloc when the capacity
  // or the system's memory is used up; the heap is as before then.
  void* Allocate(size_t size) {
    if (size <= kLargestSmall) [[likely]] {
      Chunk* chunk = current_[ClassOf(size)];
      if (FreeObject* object = chunk->free; object != nullptr) [[likely]] {
        chunk->free = object->next;
        ++chunk->live;
        return object;
      }
    }
    return AllocateSlowly(size);
  }

  // `memory` comes from Allocate of this heap.
  void Free(void* memory) noexcept {
    Chunk* chunk = &chunks_[(reinterpret_cast<uintptr_t>(memory) - base_) / kChunkBytes];
    auto* object = static_cast<FreeObject*>(memory);
    object->next = chunk->free;
    chunk->free = object;
    // One comparison for both: no object is left, or the chunk counted as full (or large).
    if (--chunk->live - 1 >= kFull - 1) [[unlikely]]
      FreeSlowly(chunk);
  }

  bool Contains(const void* memory) const {
    return reinterpret_cast<uintptr_t>(memory) - base_ < capacity_;
  }
  // The bytes that an allocation of `size` takes.
  static size_t UsableSize(size_t size);
  // The part of the capacity that it takes: its share of a chunk, or whole chunks.
  static size_t CapacityOf(size_t size);

  // Whether `bytes` more are within the capacity, however they are asked for, if they are in
  // objects of less than 64 KiB. Not a promise of the system's memory.
  bool HasRoom(size_t bytes) const {
    return (uint64_t{chunk_count_} - frontier_ + free_chunks_) * kChunkBytes >= bytes;
  }

  struct Usage {
    uint64_t capacity = 0;  // bytes, all of these
    uint64_t used = 0;      // in chunks that hold objects, the gaps between them included
    uint64_t idle = 0;      // in free chunks that keep their pages
    uint64_t reach = 0;     // from the start to the end of the last chunk that was ever used
  };
  Usage usage() const;

  // Updates are bracketed, in batches: a program that ends between the two leaves a heap that
  // nobody takes over.
  void BeginUpdate() { ++updates_begun_; }
  void EndUpdate() { ++updates_ended_; }
  bool in_update() const { return updates_begun_ != updates_ended_; }
  uint64_t updates() const { return updates_begun_; }

  // Whatever the owner starts from.
  void* root() const { return root_; }
  void set_root(void* root) { root_ = root; }

  // Where the owner of a heap that it was handed over notices a state that no heap is in.
  // Constant time: it looks at what the heap says of itself, not at what was allocated.
  bool LooksValid(uintptr_t base, uint64_t capacity) const;

 private:
  // The classes: multiples of 16 up to 256, eight to each doubling up to 8 KiB, then what divides
  // a chunk evenly.
  static constexpr size_t kFineLimit = 256;
  static constexpr size_t kGeometricLimit = 8192;
  static constexpr size_t kClasses = 16 + 5 * 8 + 6;
  static constexpr std::array<uint16_t, kClasses> MakeSizes();
  static constexpr std::array<uint8_t, kLargestSmall / kAlignment + 1> MakeClasses();
  static const std::array<uint16_t, kClasses> kSizes;
  static const std::array<uint8_t, kLargestSmall / kAlignment + 1> kClassOf;

  static size_t ClassOf(size_t size) { return kClassOf[(size + kAlignment - 1) / kAlignment]; }

  struct FreeObject {
    FreeObject* next;
  };
  enum Kind : uint8_t { kNeverUsed = 0, kSmall, kLarge, kLargeEnd, kFree };
  static constexpr uint32_t kFull = 1U << 31;
  static constexpr uint32_t kPagesPerChunk = kChunkBytes / kPageBytes;

  // One for each chunk, in an array behind the header's page.
  struct Chunk {
    FreeObject* free;   // small: objects to hand out
    uint32_t live;      // small: objects handed out, and kFull when it is in no list
    uint32_t run;       // large, free: chunks in the run; in its first and last chunk
    uint32_t previous;  // small, free: neighbours in a list; 0 for none
    uint32_t next;
    uint16_t fresh;      // small: objects of the chunk that were never handed out begin here
    uint8_t size_class;  // small
    Kind kind;
    uint8_t committed;  // pages at the start that are backed by memory, 0 to 16
    uint8_t unused[3];
  };
  static_assert(sizeof(Chunk) == 32);

  // Free runs by length: exact ones below 32 chunks, then by powers of two.
  static constexpr uint32_t kExactRuns = 32;
  static constexpr size_t kRunLists = 64;

  void* AllocateSlowly(size_t size);
  void* AllocateLarge(size_t size);
  void FreeSlowly(Chunk* chunk) noexcept;
  bool Refill(size_t size_class);
  void Carve(Chunk* chunk);
  Chunk* NewSpan(size_t size_class);

  uint32_t IndexOf(const Chunk* chunk) const { return static_cast<uint32_t>(chunk - chunks_); }
  uintptr_t AddressOf(uint32_t index) const { return base_ + uint64_t{index} * kChunkBytes; }
  void Push(uint32_t& list, Chunk* chunk);
  void Unlink(uint32_t& list, Chunk* chunk);

  static size_t RunListOf(uint32_t run);
  uint32_t TakeRun(uint32_t count);  // 0: there is none
  uint32_t FindRun(uint32_t count);
  bool Extend(uint32_t count);  // the frontier
  void MakeFreeRun(uint32_t first, uint32_t count);
  void UnlinkFreeRun(Chunk* head);
  void FreeRun(uint32_t first, uint32_t count) noexcept;
  void GiveBack(uint32_t first, uint32_t count) noexcept;
  bool CommitRun(uint32_t first, uint32_t pages);
  uint64_t CommittedPages(uint32_t first, uint32_t count) const;

  uintptr_t base_;
  uint64_t capacity_;
  Chunk* chunks_;
  uint32_t chunk_count_;
  uint32_t first_chunk_;            // after header and descriptors
  uint32_t frontier_;               // chunks from here on are untouched, or were given back
  uint32_t reach_;                  // the highest that frontier_ ever was
  uint64_t descriptors_committed_;  // bytes of the array
  uint64_t committed_pages_ = 0;    // in all chunks
  uint64_t idle_pages_ = 0;         // of these, in free ones
  uint64_t updates_begun_ = 0;
  uint64_t updates_ended_ = 0;
  void* root_ = nullptr;
  uint64_t free_chunks_ = 0;     // in runs_
  uint64_t run_lists_used_ = 0;  // a bit for each list that is not empty
  Chunk* current_[kClasses];     // where objects come from; chunk 0, which has none, for nowhere
  uint32_t partial_[kClasses] = {};  // lists of others that have free objects
  uint32_t runs_[kRunLists] = {};
};

constexpr std::array<uint16_t, ResidentHeap::kClasses> ResidentHeap::MakeSizes() {
  std::array<uint16_t, kClasses> sizes{};
  size_t count = 0;
  for (size_t size = 16; size <= kFineLimit; size += 16)
    sizes[count++] = static_cast<uint16_t>(size);
  for (size_t start = kFineLimit; start < kGeometricLimit; start *= 2) {
    for (size_t step = 1; step <= 8; ++step) {
      sizes[count++] = static_cast<uint16_t>(start + step * start / 8);
    }
  }
  for (size_t parts = 7; parts >= 2; --parts) {
    sizes[count++] = static_cast<uint16_t>(kChunkBytes / parts / kAlignment * kAlignment);
  }
  return sizes;
}

constexpr std::array<uint8_t, ResidentHeap::kLargestSmall / ResidentHeap::kAlignment + 1>
ResidentHeap::MakeClasses() {
  std::array<uint8_t, kLargestSmall / kAlignment + 1> classes{};
  const auto sizes = MakeSizes();
  size_t size_class = 0;
  for (size_t units = 0; units < classes.size(); ++units) {
    if (units * kAlignment > sizes[size_class]) ++size_class;
    classes[units] = static_cast<uint8_t>(size_class);
  }
  return classes;
}

inline constexpr std::array<uint16_t, ResidentHeap::kClasses> ResidentHeap::kSizes = MakeSizes();
inline constexpr std::array<uint8_t, ResidentHeap::kLargestSmall / ResidentHeap::kAlignment + 1>
    ResidentHeap::kClassOf = MakeClasses();

// The brackets of one batch of updates. When it is left by an exception the update stays open: half
// of it may have happened.
class ResidentUpdate {
 public:
  // Null: does nothing.
  explicit ResidentUpdate(ResidentHeap* heap) : heap_(heap) {
    if (heap_ != nullptr) heap_->BeginUpdate();
  }
  ~ResidentUpdate();
  ResidentUpdate(const ResidentUpdate&) = delete;
  ResidentUpdate& operator=(const ResidentUpdate&) = delete;

 private:
  ResidentHeap* heap_;
};

// For standard containers. It holds the heap's address, which is the same in every program.
template <typename T>
class ResidentAllocator {
 public:
  using value_type = T;
  static_assert(alignof(T) <= ResidentHeap::kAlignment);

  explicit ResidentAllocator(ResidentHeap* heap) : heap_(heap) {}
  template <typename Other>
  ResidentAllocator(const ResidentAllocator<Other>& other) : heap_(other.heap()) {}

  T* allocate(size_t count) {
    if (count > SIZE_MAX / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(heap_->Allocate(count * sizeof(T)));
  }
  void deallocate(T* memory, size_t) noexcept { heap_->Free(memory); }
  ResidentHeap* heap() const { return heap_; }
  bool operator==(const ResidentAllocator& other) const { return heap_ == other.heap_; }

 private:
  ResidentHeap* heap_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_RESIDENT_HEAP_H_
