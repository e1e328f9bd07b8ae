// What allocators and maps for resident memory cost: ours, Boost.Interprocess's and the ordinary
// heap's, by the same operations on the same keys. The basis of a decision (DESIGN.md, "Resident
// memory"); run by hand, or under `valgrind --tool=callgrind`, whose counts do not depend on what
// else the machine does. Boost is left out where it is not installed (libboost-dev).
//
//   resident_allocators [heap|boost|malloc] [ENTRIES]
//
// Prints nanoseconds an operation, and the bytes that an entry takes.
#include <malloc.h>

#if __has_include(<boost/interprocess/managed_external_buffer.hpp>)
#define HAS_BOOST 1
#include <boost/container/string.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/unordered_map.hpp>
#endif

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/resident_map.h"
#include "core/resident_region.h"
#include "core/syscalls.h"

namespace {

using liveexec::ResidentMap;
using liveexec::ResidentRegion;

constexpr uint64_t kCapacity = uint64_t{4} << 30;
constexpr size_t kValue = 100;

std::vector<std::string> MakeKeys(size_t count) {
  std::vector<std::string> keys;
  for (size_t i = 0; i < count; ++i) keys.push_back("key:" + std::to_string(i * 7919 % count));
  return keys;
}

class Ours {
 public:
  Ours() : region_(*ResidentRegion::Create(liveexec::Syscalls::Kernel(), 1, kCapacity)) {
    map_ = ResidentMap::Make(&region_.heap(), 1);
  }
  void* Allocate(size_t size) { return region_.heap().Allocate(size); }
  void Free(void* memory) { region_.heap().Free(memory); }
  void Set(std::string_view key, std::string_view value) { map_->Set(key, value); }
  size_t Get(std::string_view key) { return map_->Find(key)->size(); }
  void Erase(std::string_view key) { map_->Erase(key); }
  uint64_t Used() { return region_.heap().usage().used; }

 private:
  ResidentRegion region_;
  ResidentMap* map_;
};

#ifdef HAS_BOOST
namespace bi = boost::interprocess;

class Boost {
  using Manager = bi::basic_managed_external_buffer<
      char, bi::rbtree_best_fit<bi::null_mutex_family, bi::offset_ptr<void>>, bi::iset_index>;
  template <typename T>
  using Allocator = bi::allocator<T, Manager::segment_manager>;
  using Text = boost::container::basic_string<char, std::char_traits<char>, Allocator<char>>;
  struct Hash {
    size_t operator()(const Text& text) const {
      return std::hash<std::string_view>()({text.data(), text.size()});
    }
  };
  using Map = boost::unordered_map<Text, Text, Hash, std::equal_to<Text>,
                                   Allocator<std::pair<const Text, Text>>>;

 public:
  Boost()
      : region_(*ResidentRegion::Create(liveexec::Syscalls::Kernel(), 1, kCapacity)),
        manager_(bi::create_only, reinterpret_cast<char*>(region_.place().base) + (1 << 20),
                 kCapacity - (2 << 20)),
        allocator_(manager_.get_segment_manager()),
        map_(manager_.construct<Map>(bi::anonymous_instance)(16, Hash(), std::equal_to<Text>(),
                                                             allocator_)) {}
  void* Allocate(size_t size) { return manager_.allocate(size); }
  void Free(void* memory) { manager_.deallocate(memory); }
  void Set(std::string_view key, std::string_view value) {
    auto [at, added] = map_->try_emplace(Make(key), Make(value));
    if (!added) at->second.assign(value.data(), value.size());
  }
  size_t Get(std::string_view key) { return map_->find(Make(key))->second.size(); }
  void Erase(std::string_view key) { map_->erase(Make(key)); }
  uint64_t Used() { return manager_.get_size() - manager_.get_free_memory(); }

 private:
  Text Make(std::string_view text) { return Text(text.data(), text.size(), allocator_); }

  ResidentRegion region_;
  Manager manager_;
  Allocator<char> allocator_;
  Map* map_;
};
#endif

class Malloc {
 public:
  // Hidden from the compiler, which would leave out the two together.
  void* Allocate(size_t size) {
    void* memory = malloc(size);
    asm volatile("" : "+r"(memory));
    return memory;
  }
  void Free(void* memory) { free(memory); }
  void Set(std::string_view key, std::string_view value) {
    map_.insert_or_assign(std::string(key), std::string(value));
  }
  size_t Get(std::string_view key) { return map_.find(std::string(key))->second.size(); }
  void Erase(std::string_view key) { map_.erase(std::string(key)); }
  uint64_t Used() {
    const struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
  }

 private:
  std::unordered_map<std::string, std::string> map_;
};

template <typename Body>
void Time(const char* name, size_t count, Body body) {
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < count; ++i) body(i);
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
  printf("  %-24s %8.1f ns\n", name, spent.count() / static_cast<double>(count));
}

template <typename Subject>
void Measure(const char* name, size_t count) {
  printf("%s\n", name);
  Subject subject;
  std::vector<void*> objects(count);
  std::mt19937 random(1);
  std::vector<size_t> sizes(count);
  for (size_t& size : sizes) size = 16 + random() % 240;
  Time("allocate 16 to 255", count, [&](size_t i) { objects[i] = subject.Allocate(sizes[i]); });
  Time("free, another order", count, [&](size_t i) { subject.Free(objects[i * 7919 % count]); });
  Time("allocate and free", count, [&](size_t i) { subject.Free(subject.Allocate(sizes[i])); });
  const std::vector<std::string> keys = MakeKeys(count);
  const std::string value(kValue, 'v');
  const uint64_t before = subject.Used();
  Time("set, new", count, [&](size_t i) { subject.Set(keys[i], value); });
  const uint64_t after = subject.Used();
  size_t sum = 0;
  Time("get", count, [&](size_t i) { sum += subject.Get(keys[count - 1 - i]); });
  Time("set, same size", count, [&](size_t i) { subject.Set(keys[i], value); });
  Time("erase", count, [&](size_t i) { subject.Erase(keys[i]); });
  printf("  %-24s %8.1f bytes, of which %zu are key and value\n", "an entry",
         static_cast<double>(after - before) / static_cast<double>(count),
         keys[count / 2].size() + sum / count);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string which = argc > 1 ? argv[1] : "";
  // Not a multiple of 7919, so that the orders above are permutations.
  const size_t count = argc > 2 ? strtoul(argv[2], nullptr, 10) : 1'000'000;
  if (which.empty() || which == "heap") Measure<Ours>("ResidentHeap, ResidentMap", count);
#ifdef HAS_BOOST
  if (which.empty() || which == "boost") Measure<Boost>("Boost.Interprocess", count);
#endif
  if (which.empty() || which == "malloc") Measure<Malloc>("malloc, std::unordered_map", count);
}
