// Keyspace: the sixteen databases. The one owner of all data; everything else borrows from it.
//
// It stores and finds; it knows no clock and no client. Expiry is the caller's (engine/engine.h): a
// key with an expiry in the past is there until somebody erases it. Not thread-safe: the engine's
// lock guards it.
#ifndef LIVEEXEC_DEMO_SERVER_DATA_KEYSPACE_H_
#define LIVEEXEC_DEMO_SERVER_DATA_KEYSPACE_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "demo-server/data/dict.h"
#include "demo-server/data/storage.h"
#include "demo-server/data/value.h"

namespace liveexec::demo {

inline constexpr int64_t kNoExpiry = -1;

struct Entry : DictNode<Entry> {
  explicit Entry(Value v) : value(std::move(v)) {}

  int64_t expires_at = kNoExpiry;  // Unix time, ms
  uint32_t volatile_slot = 0;      // with an expiry: its place in Database::volatile_entries
  uint32_t accesses = 0;           // saturating
  int64_t accessed_at = 0;         // Unix time, ms
  Value value;
};

class Database {
 public:
  explicit Database(uint64_t seed) : entries_(seed) {}

  Entry* Find(std::string_view key) const { return entries_.Find(key); }
  // `key` must be absent.
  Entry* Insert(std::string_view key, Value value) {
    return entries_.Insert(key, entries_.HashOf(key), std::move(value));
  }
  void Erase(Entry* entry);
  // kNoExpiry for none.
  void SetExpiry(Entry* entry, int64_t at);
  void Clear();
  void Reserve(size_t count) { entries_.Reserve(count); }

  size_t size() const { return entries_.size(); }
  const StoredVector<Entry*>& entries() const { return entries_.nodes(); }
  // Those with an expiry, in no order.
  const StoredVector<Entry*>& volatile_entries() const { return volatile_; }

  // See Dict::Scan.
  template <typename Visit>
  uint64_t Scan(uint64_t cursor, Visit visit) const {
    return entries_.Scan(cursor, visit);
  }

 private:
  void Forget(Entry* entry);  // takes it out of volatile_

  Dict<Entry> entries_;
  StoredVector<Entry*> volatile_;
};

class Keyspace {
 public:
  static constexpr int kDatabases = 16;

  explicit Keyspace(uint64_t seed) { Reset(seed); }

  Database& database(int index) { return *databases_[static_cast<size_t>(index)]; }
  const Database& database(int index) const { return *databases_[static_cast<size_t>(index)]; }
  void Swap(int a, int b) {
    std::swap(databases_[static_cast<size_t>(a)], databases_[static_cast<size_t>(b)]);
  }

  // Of all hash tables. SCAN cursors that clients hold depend on it, so it is carried.
  uint64_t seed() const { return seed_; }
  // Empty databases with another seed.
  void Reset(uint64_t seed);

 private:
  uint64_t seed_ = 0;
  std::array<StoredPtr<Database>, kDatabases> databases_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_DATA_KEYSPACE_H_
