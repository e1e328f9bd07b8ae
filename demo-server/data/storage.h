// Where the data of all databases live: every allocation that holds a key or a part of a value goes
// through the names of this file, and nothing else does. That is the ordinary heap, or resident
// memory, which the next program finds as it is (handoff/resident_memory.h).
#ifndef LIVEEXEC_DEMO_SERVER_DATA_STORAGE_H_
#define LIVEEXEC_DEMO_SERVER_DATA_STORAGE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "core/resident_heap.h"

namespace liveexec::demo {

// Null: the ordinary heap. One for the process, as there is one key space; it changes only while no
// other thread runs (before the server serves). Guarded by the engine's lock, as the data are.
inline constinit ResidentHeap* storage_heap = nullptr;

// Room that is owed: what the keys that an upgrade left pending (PendingEntries) will take of
// storage_heap. Writes may not take it. Guarded as storage_heap is.
inline constinit size_t storage_owed = 0;

// Whether who allocates may take no room that is owed.
inline constinit bool storage_guarded = false;

// Says so, or the reverse, until it goes out of scope.
class StorageGuard {
 public:
  explicit StorageGuard(bool guarded) : before_(std::exchange(storage_guarded, guarded)) {}
  ~StorageGuard() { storage_guarded = before_; }
  StorageGuard(const StorageGuard&) = delete;
  StorageGuard& operator=(const StorageGuard&) = delete;

 private:
  const bool before_;
};

// Whether `bytes` more leave the room that is owed. Room for anything: on the heap.
inline bool StorageHasRoomFor(size_t bytes) {
  return storage_heap == nullptr || storage_heap->HasRoom(bytes + storage_owed);
}

// Memory for `size` bytes, aligned for any scalar; throws std::bad_alloc.
inline void* AllocateStorage(size_t size) {
  if (storage_owed != 0 && storage_guarded && !StorageHasRoomFor(size)) throw std::bad_alloc();
  if (storage_heap != nullptr) return storage_heap->Allocate(size);
  return ::operator new(size);
}
// Also for what was allocated before storage_heap was set.
inline void FreeStorage(void* memory, [[maybe_unused]] size_t size) {
  if (storage_heap != nullptr && storage_heap->Contains(memory)) return storage_heap->Free(memory);
#ifdef __cpp_sized_deallocation  // clang 14 has it only when asked to
  ::operator delete(memory, size);
#else
  ::operator delete(memory);
#endif
}

// False when the next writes would better be refused: the capacity of resident memory is about to
// be used up, or is owed to pending keys. What is left then is for what a single command needs.
inline bool StorageHasRoom() {
  constexpr size_t kReserve = 1 << 20;
  return StorageHasRoomFor(kReserve);
}

// Has no state, so that containers in resident memory hold nothing that is one program's.
template <typename T>
class StorageAllocator {
 public:
  using value_type = T;
  static_assert(alignof(T) <= ResidentHeap::kAlignment);

  StorageAllocator() = default;
  template <typename Other>
  StorageAllocator(const StorageAllocator<Other>&) {}

  T* allocate(size_t count) {
    if (count > SIZE_MAX / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(AllocateStorage(count * sizeof(T)));
  }
  void deallocate(T* memory, size_t count) noexcept { FreeStorage(memory, count * sizeof(T)); }
  bool operator==(const StorageAllocator&) const { return true; }
};

// A byte string of a value: a string, an element of a list, the value of a field.
using Bytes = std::basic_string<char, std::char_traits<char>, StorageAllocator<char>>;

template <typename T>
using StoredVector = std::vector<T, StorageAllocator<T>>;

template <typename T>
using StoredDeque = std::deque<T, StorageAllocator<T>>;

struct StorageDelete {
  template <typename T>
  void operator()(T* object) const {
    object->~T();
    FreeStorage(object, sizeof(T));
  }
};

template <typename T>
using StoredPtr = std::unique_ptr<T, StorageDelete>;

template <typename T, typename... Args>
StoredPtr<T> MakeStored(Args&&... args) {
  return StoredPtr<T>(new (AllocateStorage(sizeof(T))) T(std::forward<Args>(args)...));
}

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_DATA_STORAGE_H_
