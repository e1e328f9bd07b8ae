#include "demo-server/data/keyspace.h"

namespace liveexec::demo {

void Database::Erase(Entry* entry) {
  if (entry->expires_at != kNoExpiry) Forget(entry);
  entries_.Erase(entry);
}

void Database::SetExpiry(Entry* entry, int64_t at) {
  if (entry->expires_at == kNoExpiry && at != kNoExpiry) {
    entry->volatile_slot = static_cast<uint32_t>(volatile_.size());
    volatile_.push_back(entry);
  } else if (entry->expires_at != kNoExpiry && at == kNoExpiry) {
    Forget(entry);
  }
  entry->expires_at = at;
}

void Database::Forget(Entry* entry) {
  Entry* last = volatile_.back();
  volatile_[entry->volatile_slot] = last;
  last->volatile_slot = entry->volatile_slot;
  volatile_.pop_back();
}

void Database::Clear() {
  StoredVector<Entry*>().swap(volatile_);
  entries_.Clear();
}

void Keyspace::Reset(uint64_t seed) {
  seed_ = seed;
  for (auto& database : databases_) database = MakeStored<Database>(seed);
}

}  // namespace liveexec::demo
