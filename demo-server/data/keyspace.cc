#include "demo-server/data/keyspace.h"

#include <bit>

namespace liveexec::demo {

bool Database::Contains(std::string_view key) const {
  if (entries_.Find(key) != nullptr) return true;
  return pending_ != nullptr && pending_->Contains(key, entries_.HashOf(key));
}

bool Database::ErasePending(std::string_view key) {
  if (pending_ == nullptr) return false;
  const uint64_t hash = entries_.HashOf(key);
  if (!pending_->Drop(key, hash)) return false;
  if (watch_ != nullptr) watch_->OnChange(key, hash);
  return true;
}

void Database::Erase(Entry* entry) {
  if (watch_ != nullptr) watch_->OnChange(entry->key(), entry->hash);
  if (entry->expires_at != kNoExpiry) Forget(entry);
  entries_.Erase(entry);
}

void Database::SetExpiry(Entry* entry, int64_t at) {
  if (watch_ != nullptr) watch_->OnChange(entry->key(), entry->hash);
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
  if (pending_ != nullptr) pending_->Clear();
  if (watch_ != nullptr) watch_->OnClear();
}

Entry* Database::LoadPending(std::string_view key) {
  const bool loaded = pending_->Load(*this, key, entries_.HashOf(key));
  return loaded ? entries_.Find(key) : nullptr;
}

uint64_t Database::LoadScanned(uint64_t cursor) {
  const int bits = std::bit_width(size());  // 0 to 40: a table has no more buckets
  const uint64_t step = kScanEnd >> bits;
  const uint64_t end = (cursor / step + 1) * step;
  constexpr int kShift = 64 - kScanBits;
  pending_->LoadRange(*this, cursor << kShift, ((end - 1) << kShift) | ((1 << kShift) - 1));
  return end;
}

void Database::ForEachKey(PendingEntries::Visit visit) const {
  for (const Entry* entry : entries_.nodes()) visit(entry->key(), entry->expires_at);
  if (pending_ != nullptr) pending_->ForEachKey(visit);
}

Entry* Database::RandomEntry(absl::FunctionRef<uint64_t()> random) {
  if (size() == 0) return nullptr;
  const size_t index = random() % size();
  if (index < entries_.size()) return entries_.nodes()[index];
  if (Entry* entry = pending_->LoadRandom(*this, random); entry != nullptr) return entry;
  return entries_.empty() ? nullptr : entries_.nodes()[random() % entries_.size()];
}

void Keyspace::Reset(uint64_t seed) {
  seed_ = seed;
  for (auto& database : databases_) database = MakeStored<Database>(seed);
}

size_t Keyspace::pending_keys() const {
  size_t keys = 0;
  for (const auto& database : databases_) {
    if (database->pending() != nullptr) keys += database->pending()->size();
  }
  return keys;
}

Database* Keyspace::AnyWithPending() {
  for (auto& database : databases_) {
    if (database->pending() != nullptr && database->pending()->size() > 0) return &*database;
  }
  return nullptr;
}

}  // namespace liveexec::demo
