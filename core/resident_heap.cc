#include "core/resident_heap.h"

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <exception>

// Linux 5.14; Debian 12's headers do not know it.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace liveexec {
namespace {

// Free memory below this stays with the heap, whatever is in use.
constexpr uint64_t kIdlePages = 1024;
constexpr uint64_t kIdleShare = 16;  // of what is in use, above that
// Objects of at most so many bytes are made ready at once: no page is touched long before its time.
constexpr size_t kCarveBytes = 4096;

size_t RoundUp(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// Takes memory from the system for pages that had none. False when there is no more.
bool Commit(uintptr_t address, size_t bytes) {
  int result;
  do {
    result = madvise(reinterpret_cast<void*>(address), bytes, MADV_POPULATE_WRITE);
  } while (result != 0 && errno == EINTR);
  // Before Linux 5.14 there is no such request: the pages come when they are touched.
  return result == 0 || errno == EINVAL;
}

}  // namespace

ResidentHeap::ResidentHeap(uintptr_t base, uint64_t capacity)
    : base_(base),
      capacity_(capacity),
      chunks_(reinterpret_cast<Chunk*>(base + kPageBytes)),
      chunk_count_(static_cast<uint32_t>(capacity / kChunkBytes)) {
  const size_t header = kPageBytes + size_t{chunk_count_} * sizeof(Chunk);
  first_chunk_ = static_cast<uint32_t>(RoundUp(header, kChunkBytes) / kChunkBytes);
  frontier_ = reach_ = first_chunk_;
  // The others are committed as the frontier reaches them.
  descriptors_committed_ = kCommittedAtFirst - kPageBytes;
  std::fill(std::begin(current_), std::end(current_), &chunks_[0]);
}

bool ResidentHeap::LooksValid(uintptr_t base, uint64_t capacity) const {
  const size_t header = kPageBytes + capacity / kChunkBytes * sizeof(Chunk);
  return base_ == base && capacity_ == capacity &&
         chunks_ == reinterpret_cast<const Chunk*>(base + kPageBytes) &&
         chunk_count_ == capacity / kChunkBytes &&
         first_chunk_ == RoundUp(header, kChunkBytes) / kChunkBytes && first_chunk_ <= frontier_ &&
         frontier_ <= reach_ && reach_ <= chunk_count_ && (root_ == nullptr || Contains(root_));
}

size_t ResidentHeap::UsableSize(size_t size) {
  if (size <= kLargestSmall) return kSizes[ClassOf(size)];
  return RoundUp(size, kPageBytes);
}

size_t ResidentHeap::CapacityOf(size_t size) {
  if (size > kLargestSmall) return RoundUp(size, kChunkBytes);
  return kChunkBytes / (kChunkBytes / kSizes[ClassOf(size)]);
}

ResidentHeap::Usage ResidentHeap::usage() const {
  return {.capacity = capacity_,
          .used = (committed_pages_ - idle_pages_) * kPageBytes,
          .idle = idle_pages_ * kPageBytes,
          .reach = uint64_t{reach_} * kChunkBytes};
}

// ---- Small objects.

void* ResidentHeap::AllocateSlowly(size_t size) {
  if (size > kLargestSmall) return AllocateLarge(size);
  const size_t size_class = ClassOf(size);
  if (!Refill(size_class)) throw std::bad_alloc();
  Chunk* chunk = current_[size_class];
  FreeObject* object = chunk->free;
  chunk->free = object->next;
  ++chunk->live;
  return object;
}

// Makes current_[size_class] a chunk with something to hand out.
bool ResidentHeap::Refill(size_t size_class) {
  const size_t objects = kChunkBytes / kSizes[size_class];
  Chunk* chunk = current_[size_class];
  if (chunk != &chunks_[0]) {
    if (chunk->fresh < objects) {
      Carve(chunk);
      return true;
    }
    chunk->live |= kFull;
    current_[size_class] = &chunks_[0];
  }
  if (uint32_t other = partial_[size_class]; other != 0) {
    chunk = &chunks_[other];
    Unlink(partial_[size_class], chunk);
  } else {
    chunk = NewSpan(size_class);
    if (chunk == nullptr) return false;
  }
  current_[size_class] = chunk;
  if (chunk->free == nullptr) Carve(chunk);
  return true;
}

// Puts the next few objects that were never handed out into the chunk's list.
void ResidentHeap::Carve(Chunk* chunk) {
  const size_t size = kSizes[chunk->size_class];
  const size_t objects = kChunkBytes / size;
  const size_t count = std::min(std::max<size_t>(kCarveBytes / size, 1), objects - chunk->fresh);
  const uintptr_t start = AddressOf(IndexOf(chunk)) + chunk->fresh * size;
  FreeObject* list = nullptr;
  for (size_t i = count; i > 0; --i) {
    auto* object = reinterpret_cast<FreeObject*>(start + (i - 1) * size);
    object->next = list;
    list = object;
  }
  chunk->free = list;
  chunk->fresh = static_cast<uint16_t>(chunk->fresh + count);
}

ResidentHeap::Chunk* ResidentHeap::NewSpan(size_t size_class) {
  const uint32_t index = TakeRun(1);
  if (index == 0) return nullptr;
  if (!CommitRun(index, kPagesPerChunk)) {
    FreeRun(index, 1);
    return nullptr;
  }
  Chunk* chunk = &chunks_[index];
  chunk->free = nullptr;
  chunk->live = 0;
  chunk->run = 1;
  chunk->fresh = 0;
  chunk->size_class = static_cast<uint8_t>(size_class);
  chunk->kind = kSmall;
  return chunk;
}

void ResidentHeap::FreeSlowly(Chunk* chunk) noexcept {
  if (chunk->kind == kLarge) {
    FreeRun(IndexOf(chunk), chunk->run);
    return;
  }
  uint32_t& partial = partial_[chunk->size_class];
  if ((chunk->live & kFull) != 0) {
    chunk->live &= ~kFull;
    Push(partial, chunk);
    if (chunk->live != 0) return;
  }
  // The one that objects come from stays: a single object that comes and goes costs nothing.
  if (chunk == current_[chunk->size_class]) return;
  Unlink(partial, chunk);
  FreeRun(IndexOf(chunk), 1);
}

void ResidentHeap::Push(uint32_t& list, Chunk* chunk) {
  chunk->previous = 0;
  chunk->next = list;
  if (list != 0) chunks_[list].previous = IndexOf(chunk);
  list = IndexOf(chunk);
}

void ResidentHeap::Unlink(uint32_t& list, Chunk* chunk) {
  if (chunk->previous == 0) {
    list = chunk->next;
  } else {
    chunks_[chunk->previous].next = chunk->next;
  }
  if (chunk->next != 0) chunks_[chunk->next].previous = chunk->previous;
}

// ---- Large ones.

void* ResidentHeap::AllocateLarge(size_t size) {
  if (size > capacity_) throw std::bad_alloc();
  const auto pages = static_cast<uint32_t>(RoundUp(size, kPageBytes) / kPageBytes);
  const uint32_t count = (pages + kPagesPerChunk - 1) / kPagesPerChunk;
  const uint32_t first = TakeRun(count);
  if (first == 0) throw std::bad_alloc();
  if (!CommitRun(first, pages)) {
    FreeRun(first, count);
    throw std::bad_alloc();
  }
  chunks_[first + count - 1].kind = kLargeEnd;
  Chunk& head = chunks_[first];
  head.kind = kLarge;
  head.run = count;
  head.free = nullptr;
  head.live = kFull | 1;
  return reinterpret_cast<void*>(AddressOf(first));
}

// Commits the first `pages` of a run, as far as they are not.
bool ResidentHeap::CommitRun(uint32_t first, uint32_t pages) {
  uint32_t index = first;
  while (pages > 0) {
    uint32_t wanted = std::min(pages, kPagesPerChunk);
    if (chunks_[index].committed >= wanted) {
      ++index;
      pages -= wanted;
      continue;
    }
    // One request for all that follow without a page between them that is committed.
    const uintptr_t start = AddressOf(index) + chunks_[index].committed * kPageBytes;
    const uint32_t first_of_request = index;
    uintptr_t end = 0;
    do {
      end = AddressOf(index) + wanted * kPageBytes;
      pages -= wanted;
      ++index;
      wanted = std::min(pages, kPagesPerChunk);
    } while (pages > 0 && chunks_[index].committed == 0);
    if (!Commit(start, end - start)) return false;
    for (uint32_t i = first_of_request; i < index; ++i) {
      const auto now = static_cast<uint8_t>(
          std::min<uint64_t>((end - AddressOf(i)) / kPageBytes, kPagesPerChunk));
      committed_pages_ += now - chunks_[i].committed;
      chunks_[i].committed = now;
    }
  }
  return true;
}

uint64_t ResidentHeap::CommittedPages(uint32_t first, uint32_t count) const {
  uint64_t pages = 0;
  for (uint32_t i = first; i < first + count; ++i) pages += chunks_[i].committed;
  return pages;
}

// ---- Runs of free chunks.

size_t ResidentHeap::RunListOf(uint32_t run) {
  if (run < kExactRuns) return run;
  return kExactRuns - 5 + static_cast<size_t>(std::bit_width(run)) - 1;
}

// A free run of at least `count` chunks; 0 when there is none.
uint32_t ResidentHeap::FindRun(uint32_t count) {
  const size_t list = RunListOf(count);
  if (count >= kExactRuns) {
    for (uint32_t i = runs_[list]; i != 0; i = chunks_[i].next) {
      if (chunks_[i].run >= count) return i;
    }
  }
  const size_t first = count < kExactRuns ? list : list + 1;
  const uint64_t longer = run_lists_used_ >> first << first;
  return longer == 0 ? 0 : runs_[std::countr_zero(longer)];
}

uint32_t ResidentHeap::TakeRun(uint32_t count) {
  uint32_t first = FindRun(count);
  if (first == 0) {
    first = frontier_;
    if (!Extend(count)) return 0;
  } else {
    const uint32_t rest = chunks_[first].run - count;
    UnlinkFreeRun(&chunks_[first]);
    if (rest > 0) MakeFreeRun(first + count, rest);
  }
  idle_pages_ -= CommittedPages(first, count);
  return first;
}

bool ResidentHeap::Extend(uint32_t count) {
  if (count > chunk_count_ - frontier_) return false;
  const size_t needed = RoundUp((size_t{frontier_} + count) * sizeof(Chunk), kPageBytes);
  if (needed > descriptors_committed_) {
    const auto start = reinterpret_cast<uintptr_t>(chunks_) + descriptors_committed_;
    if (!Commit(start, needed - descriptors_committed_)) return false;
    descriptors_committed_ = needed;
  }
  frontier_ += count;
  reach_ = std::max(reach_, frontier_);
  return true;
}

void ResidentHeap::MakeFreeRun(uint32_t first, uint32_t count) {
  chunks_[first + count - 1].kind = kFree;
  chunks_[first + count - 1].run = count;
  chunks_[first].kind = kFree;
  chunks_[first].run = count;
  const size_t list = RunListOf(count);
  Push(runs_[list], &chunks_[first]);
  run_lists_used_ |= uint64_t{1} << list;
  free_chunks_ += count;
}

void ResidentHeap::UnlinkFreeRun(Chunk* head) {
  const size_t list = RunListOf(head->run);
  Unlink(runs_[list], head);
  if (runs_[list] == 0) run_lists_used_ &= ~(uint64_t{1} << list);
  free_chunks_ -= head->run;
  head->kind = kLarge;
  chunks_[IndexOf(head) + head->run - 1].kind = kLargeEnd;
}

void ResidentHeap::FreeRun(uint32_t first, uint32_t count) noexcept {
  idle_pages_ += CommittedPages(first, count);
  if (first + count < frontier_ && chunks_[first + count].kind == kFree) {
    const uint32_t run = chunks_[first + count].run;
    UnlinkFreeRun(&chunks_[first + count]);
    count += run;
  }
  if (first > first_chunk_ && chunks_[first - 1].kind == kFree) {
    const uint32_t run = chunks_[first - 1].run;
    UnlinkFreeRun(&chunks_[first - run]);
    first -= run;
    count += run;
  }
  const uint64_t used = committed_pages_ - idle_pages_;
  if (idle_pages_ > std::max(kIdlePages, used / kIdleShare)) GiveBack(first, count);
  if (first + count == frontier_) {
    frontier_ = first;
  } else {
    MakeFreeRun(first, count);
  }
}

// Returns the pages of a free run to the system. Where that fails they stay, and stay counted.
void ResidentHeap::GiveBack(uint32_t first, uint32_t count) noexcept {
  const uint64_t pages = CommittedPages(first, count);
  if (pages == 0) return;
  const size_t bytes = size_t{count} * kChunkBytes;
  if (madvise(reinterpret_cast<void*>(AddressOf(first)), bytes, MADV_REMOVE) != 0) return;
  for (uint32_t i = first; i < first + count; ++i) chunks_[i].committed = 0;
  committed_pages_ -= pages;
  idle_pages_ -= pages;
}

ResidentUpdate::~ResidentUpdate() {
  if (heap_ != nullptr && std::uncaught_exceptions() == 0) heap_->EndUpdate();
}

}  // namespace liveexec
