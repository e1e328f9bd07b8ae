// Keyspace: the sixteen databases. The one owner of all data; everything else borrows from it.
//
// It stores and finds; it knows no clock and no client. Expiry is the caller's (engine/engine.h): a
// key with an expiry in the past is there until somebody erases it. Not thread-safe: the engine's
// lock guards it.
//
// Two helpers of an upgrade may be attached to a database; both move with it in Swap. A ChangeWatch
// is told of every key that is added, changed or removed. PendingEntries are keys that were copied
// ahead of the blackout and are not in the table yet: they are loaded when somebody asks for them.
#ifndef LIVEEXEC_DEMO_SERVER_DATA_KEYSPACE_H_
#define LIVEEXEC_DEMO_SERVER_DATA_KEYSPACE_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
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

class Database;

// Told of what happens to the keys of a database. May not touch it.
class ChangeWatch {
 public:
  virtual ~ChangeWatch() = default;
  // `key` was, or is about to be, added, changed or removed.
  virtual void OnChange(std::string_view key, uint64_t hash) = 0;
  // All keys are gone.
  virtual void OnClear() = 0;
};

// Entries that are not in their database's table. Load... put some into it; what there is no memory
// for stays pending, and is std::bad_alloc.
class PendingEntries {
 public:
  virtual ~PendingEntries() = default;
  virtual size_t size() const = 0;
  virtual size_t volatile_size() const = 0;
  virtual bool Contains(std::string_view key, uint64_t hash) const = 0;
  // False when there is no such key.
  virtual bool Load(Database& database, std::string_view key, uint64_t hash) = 0;
  // Without loading it. False when there is no such key.
  virtual bool Drop(std::string_view key, uint64_t hash) = 0;
  // All whose hash is in [first, last].
  virtual void LoadRange(Database& database, uint64_t first, uint64_t last) = 0;
  // One or a few; to be repeated until size() is 0. After std::bad_alloc it goes on with others.
  virtual void LoadSome(Database& database) = 0;
  using Visit = absl::FunctionRef<void(std::string_view key, int64_t expires_at)>;
  virtual void ForEachKey(Visit visit) const = 0;
  // Loads one of them, each about as likely as any other, and returns its key. `random` makes
  // random numbers. Null: none could be loaded, and none is left.
  virtual Entry* LoadRandom(Database& database, absl::FunctionRef<uint64_t()> random) = 0;
  virtual void Clear() = 0;
};

class Database {
 public:
  explicit Database(uint64_t seed) : entries_(seed) {}

  Entry* Find(std::string_view key) {
    Entry* entry = entries_.Find(key);
    if (entry != nullptr || pending_ == nullptr) return entry;
    return LoadPending(key);
  }
  bool Contains(std::string_view key) const;
  // Erases a key that is still pending, for which there may be no memory. False: there is none.
  bool ErasePending(std::string_view key);
  // `key` must be absent.
  Entry* Insert(std::string_view key, Value value) {
    const uint64_t hash = entries_.HashOf(key);
    // A slot that was reserved for a pending key is room that is owed.
    if (storage_guarded && pending_ != nullptr && size() == entries_.capacity()) {
      entries_.GrowSlots();
    }
    if (watch_ != nullptr) watch_->OnChange(key, hash);
    return entries_.Insert(key, hash, std::move(value));
  }
  void Erase(Entry* entry);
  // kNoExpiry for none.
  void SetExpiry(Entry* entry, int64_t at);
  void Clear();
  void Reserve(size_t count) { entries_.Reserve(count); }
  // What tables for `count` keys take of the storage, `with_expiry` of them with one.
  static size_t TablesFor(size_t count, size_t with_expiry) {
    return Dict<Entry>::TablesFor(count) + ResidentHeap::CapacityOf(with_expiry * sizeof(Entry*));
  }
  // To be called when the value of `key` was changed in place.
  void Modified(std::string_view key) {
    if (watch_ != nullptr) watch_->OnChange(key, entries_.HashOf(key));
  }

  size_t size() const { return entries_.size() + (pending_ == nullptr ? 0 : pending_->size()); }
  size_t volatile_size() const {
    return volatile_.size() + (pending_ == nullptr ? 0 : pending_->volatile_size());
  }
  // Of those that are in the table: all, unless some are pending.
  const StoredVector<Entry*>& entries() const { return entries_.nodes(); }
  // Those with an expiry, in no order.
  const StoredVector<Entry*>& volatile_entries() const { return volatile_; }
  Entry* FindLoaded(std::string_view key) const { return entries_.Find(key); }

  // Pending keys included, without loading them. The keys are valid until the database changes.
  void ForEachKey(PendingEntries::Visit visit) const;
  // An entry, each as likely as any other; null when there is none.
  Entry* RandomEntry(absl::FunctionRef<uint64_t()> random);

  // See Dict::Scan.
  template <typename Visit>
  uint64_t Scan(uint64_t cursor, Visit visit) {
    if (pending_ == nullptr) return entries_.Scan(cursor, visit);
    // A step of the cursor is one of a table that had all keys. Buckets of the smaller one that
    // there is may be wider: the rest of such a one comes with the next step.
    cursor &= kScanEnd - 1;
    const uint64_t end = LoadScanned(cursor);
    for (uint64_t at = cursor; at < end;) {
      at = entries_.Scan(at, [&](Entry* entry) {
        if (entry->hash >> (64 - kScanBits) < end) visit(entry);
      });
      if (at == 0) break;
    }
    return end == kScanEnd ? 0 : end;
  }

  // Both borrowed; null for none. Whoever attaches them detaches them.
  void set_watch(ChangeWatch* watch) { watch_ = watch; }
  const ChangeWatch* watch() const { return watch_; }
  void set_pending(PendingEntries* pending) { pending_ = pending; }
  PendingEntries* pending() const { return pending_; }

 private:
  static constexpr int kScanBits = 48;
  static constexpr uint64_t kScanEnd = uint64_t{1} << kScanBits;

  void Forget(Entry* entry);  // takes it out of volatile_
  Entry* LoadPending(std::string_view key);
  // Loads what is pending from `cursor` to the end of its step, and returns that.
  uint64_t LoadScanned(uint64_t cursor);

  Dict<Entry> entries_;
  StoredVector<Entry*> volatile_;
  ChangeWatch* watch_ = nullptr;
  PendingEntries* pending_ = nullptr;
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

  // How many keys of all databases are pending.
  size_t pending_keys() const;
  // A database of which some are; null when none are.
  Database* AnyWithPending();

 private:
  uint64_t seed_ = 0;
  std::array<StoredPtr<Database>, kDatabases> databases_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_DATA_KEYSPACE_H_
