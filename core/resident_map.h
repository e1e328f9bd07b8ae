// ResidentMap: a hash map from byte strings to byte strings in resident memory.
//
//   auto* map = ResidentMap::Make(&region.heap(), seed);
//   region.heap().set_root(map);
//   map->Set("name", "value");
//   if (auto value = map->Find("name")) Use(*value);
//
// The next program finds the map where the root is, and goes on with it. Growing is incremental:
// no call takes long, however many entries there are. An entry is one allocation of 16 bytes, key
// and value. Keys and values are each shorter than 4 GiB.
//
// Not thread-safe: whoever owns the heap owns the map. std::bad_alloc leaves it as it was.
#ifndef LIVEEXEC_CORE_RESIDENT_MAP_H_
#define LIVEEXEC_CORE_RESIDENT_MAP_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/resident_heap.h"

namespace liveexec {

class ResidentMap {
 public:
  // In `heap`, which it then keeps to. The hash depends on `seed`: a random one where strangers
  // choose keys.
  static ResidentMap* Make(ResidentHeap* heap, uint64_t seed);
  // With all entries.
  static void Destroy(ResidentMap* map);

  // The value is where it is until the key is set or erased again.
  std::optional<std::string_view> Find(std::string_view key) const;
  // Adds or replaces. True when the key is new.
  bool Set(std::string_view key, std::string_view value);
  // True when it was there.
  bool Erase(std::string_view key);
  void Clear();

  uint64_t size() const { return size_; }

  // Calls visit(key, value) for each, in no order. visit may not change the map.
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const Table* table : {&current_, &old_}) {
      for (uint64_t i = 0; i < table->size(); ++i) {
        for (const Entry* entry = table->buckets[i]; entry != nullptr; entry = entry->next) {
          visit(entry->key(), entry->value());
        }
      }
    }
  }

  // The part of a layout's fingerprint that is this map's.
  static constexpr uint64_t kFormat = 1;

 private:
  struct Entry {
    Entry* next;
    uint32_t key_size;
    uint32_t value_size;

    char* bytes() { return reinterpret_cast<char*>(this + 1); }
    const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }
    std::string_view key() const { return {bytes(), key_size}; }
    std::string_view value() const { return {bytes() + key_size, value_size}; }
  };
  struct Table {
    Entry** buckets = nullptr;
    uint32_t bits = 0;
    uint64_t size() const { return buckets == nullptr ? 0 : uint64_t{1} << bits; }
  };

  explicit ResidentMap(ResidentHeap* heap, uint64_t seed) : heap_(heap), seed_(seed) {}
  uint64_t HashOf(std::string_view key) const;
  Entry** BucketOf(uint64_t hash) const;
  Entry** LinkOf(std::string_view key) const;
  bool MakeTable(uint32_t bits, Table* table);
  void Grow();
  void MoveSome();
  Entry* NewEntry(std::string_view key, std::string_view value);

  ResidentHeap* heap_;
  uint64_t seed_;
  uint64_t size_ = 0;
  Table current_;
  Table old_;  // while moving: buckets below moved_ are empty
  uint64_t moved_ = 0;
};

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_RESIDENT_MAP_H_
