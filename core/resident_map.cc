#define XXH_INLINE_ALL
#include "core/resident_map.h"

#include <xxhash.h>

#include <cstring>
#include <new>

namespace liveexec {
namespace {
constexpr uint32_t kLeastBits = 4;
constexpr uint32_t kMostBits = 36;
constexpr int kMovedAtOnce = 4;  // buckets: done before the next doubling is due
}  // namespace

ResidentMap* ResidentMap::Make(ResidentHeap* heap, uint64_t seed) {
  return new (heap->Allocate(sizeof(ResidentMap))) ResidentMap(heap, seed);
}

void ResidentMap::Destroy(ResidentMap* map) {
  map->Clear();
  map->heap_->Free(map);
}

uint64_t ResidentMap::HashOf(std::string_view key) const {
  return XXH3_64bits_withSeed(key.data(), key.size(), seed_);
}

// By the leading bits, so that a bucket's content goes to two neighbours when the table grows.
ResidentMap::Entry** ResidentMap::BucketOf(uint64_t hash) const {
  if (old_.buckets != nullptr) {
    const uint64_t index = hash >> (64 - old_.bits);
    if (index >= moved_) return &old_.buckets[index];
  }
  return &current_.buckets[hash >> (64 - current_.bits)];
}

// The pointer that leads to the key's entry, or null.
ResidentMap::Entry** ResidentMap::LinkOf(std::string_view key) const {
  if (current_.buckets == nullptr) return nullptr;
  for (Entry** link = BucketOf(HashOf(key)); *link != nullptr; link = &(*link)->next) {
    if ((*link)->key() == key) return link;
  }
  return nullptr;
}

std::optional<std::string_view> ResidentMap::Find(std::string_view key) const {
  Entry** link = LinkOf(key);
  if (link == nullptr) return std::nullopt;
  return (*link)->value();
}

ResidentMap::Entry* ResidentMap::NewEntry(std::string_view key, std::string_view value) {
  auto* entry = static_cast<Entry*>(heap_->Allocate(sizeof(Entry) + key.size() + value.size()));
  entry->key_size = static_cast<uint32_t>(key.size());
  entry->value_size = static_cast<uint32_t>(value.size());
  if (!key.empty()) memcpy(entry->bytes(), key.data(), key.size());
  if (!value.empty()) memcpy(entry->bytes() + key.size(), value.data(), value.size());
  return entry;
}

bool ResidentMap::Set(std::string_view key, std::string_view value) {
  if (Entry** link = LinkOf(key); link != nullptr) {
    Entry* known = *link;
    if (known->value_size == value.size()) {
      if (!value.empty()) memmove(known->bytes() + known->key_size, value.data(), value.size());
      return false;
    }
    Entry* entry = NewEntry(key, value);
    entry->next = known->next;
    *link = entry;
    heap_->Free(known);
    return false;
  }
  if (current_.buckets == nullptr && !MakeTable(kLeastBits, &current_)) throw std::bad_alloc();
  Entry* entry = NewEntry(key, value);
  MoveSome();
  Entry** bucket = BucketOf(HashOf(key));
  entry->next = *bucket;
  *bucket = entry;
  ++size_;
  if (size_ > current_.size()) Grow();
  return true;
}

bool ResidentMap::Erase(std::string_view key) {
  Entry** link = LinkOf(key);
  if (link == nullptr) return false;
  Entry* entry = *link;
  *link = entry->next;
  heap_->Free(entry);
  --size_;
  MoveSome();
  return true;
}

bool ResidentMap::MakeTable(uint32_t bits, Table* table) {
  const size_t bytes = sizeof(Entry*) << bits;
  void* buckets;
  try {
    buckets = heap_->Allocate(bytes);
  } catch (const std::bad_alloc&) {
    return false;
  }
  memset(buckets, 0, bytes);
  table->buckets = static_cast<Entry**>(buckets);
  table->bits = bits;
  return true;
}

// A table that cannot grow has longer chains, which is no reason to refuse an entry.
void ResidentMap::Grow() {
  Table larger;
  if (old_.buckets != nullptr || current_.bits >= kMostBits) return;
  if (!MakeTable(current_.bits + 1, &larger)) return;
  old_ = current_;
  current_ = larger;
  moved_ = 0;
}

void ResidentMap::MoveSome() {
  if (old_.buckets == nullptr) return;
  for (int i = 0; i < kMovedAtOnce && moved_ < old_.size(); ++i, ++moved_) {
    Entry* entry = old_.buckets[moved_];
    while (entry != nullptr) {
      Entry* next = entry->next;
      Entry** bucket = &current_.buckets[HashOf(entry->key()) >> (64 - current_.bits)];
      entry->next = *bucket;
      *bucket = entry;
      entry = next;
    }
    old_.buckets[moved_] = nullptr;
  }
  if (moved_ < old_.size()) return;
  heap_->Free(old_.buckets);
  old_ = Table();
}

void ResidentMap::Clear() {
  for (Table* table : {&current_, &old_}) {
    for (uint64_t i = 0; i < table->size(); ++i) {
      for (Entry* entry = table->buckets[i]; entry != nullptr;) {
        Entry* next = entry->next;
        heap_->Free(entry);
        entry = next;
      }
    }
    if (table->buckets != nullptr) heap_->Free(table->buckets);
    *table = Table();
  }
  moved_ = 0;
  size_ = 0;
}

}  // namespace liveexec
