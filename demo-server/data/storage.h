// Where the data of all databases live: every allocation that holds a key or a part of a value goes
// through the names of this file, and nothing else does. Another home for the data (a memory region
// that outlives the program, say) is another body for these few names.
#ifndef LIVEEXEC_DEMO_SERVER_DATA_STORAGE_H_
#define LIVEEXEC_DEMO_SERVER_DATA_STORAGE_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace liveexec::demo {

template <typename T>
using StorageAllocator = std::allocator<T>;

// A byte string of a value: a string, an element of a list, the value of a field.
using Bytes = std::basic_string<char, std::char_traits<char>, StorageAllocator<char>>;

template <typename T>
using StoredVector = std::vector<T, StorageAllocator<T>>;

template <typename T>
using StoredDeque = std::deque<T, StorageAllocator<T>>;

// Memory for `size` bytes, aligned for any scalar; throws std::bad_alloc.
inline void* AllocateStorage(size_t size) { return ::operator new(size); }
inline void FreeStorage(void* memory, [[maybe_unused]] size_t size) {
#ifdef __cpp_sized_deallocation  // clang 14 has it only when asked to
  ::operator delete(memory, size);
#else
  ::operator delete(memory);
#endif
}

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
