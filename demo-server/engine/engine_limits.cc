// Engine: how much memory, output and time clients may take (maxmemory, maxclients, timeout,
// client-output-buffer-limit).
#include <malloc.h>

#include <algorithm>
#include <limits>
#include <string>

#include "demo-server/engine/engine.h"
#include "demo-server/protocol/number.h"

namespace liveexec::demo {
namespace {

int64_t Smallest(const OutputLimit& a, const OutputLimit& b) {
  int64_t smallest = std::numeric_limits<int64_t>::max();
  for (int64_t limit : {a.hard, a.soft, b.hard, b.soft}) {
    if (limit > 0) smallest = std::min(smallest, limit);
  }
  return smallest;
}

}  // namespace

uint64_t Engine::UsedMemory() {
  const struct mallinfo2 heap = mallinfo2();
  const uint64_t data = storage_heap == nullptr ? 0 : storage_heap->usage().used;
  return heap.uordblks + heap.hblkhd + data;
}

void Engine::ApplyLimits() {
  auto number = [this](std::string_view name) {
    int64_t value = 0;
    return ParseInteger(config_.Get(name), &value) ? std::max<int64_t>(value, 0) : 0;
  };
  max_memory_ = static_cast<uint64_t>(number("maxmemory"));
  max_tracked_keys_ = static_cast<size_t>(number("tracking-table-max-keys"));
  max_clients_ = static_cast<uint64_t>(number("maxclients"));
  idle_timeout_ms_ = std::min<int64_t>(number("timeout"), INT32_MAX) * 1000;
  ReadOutputLimits(config_.Get("client-output-buffer-limit"), &output_limits_);
  smallest_output_limit_ = Smallest(output_limits_.normal, output_limits_.pubsub);
}

bool Engine::ExceedsOutputLimit(Session& session, size_t pending) {
  if (static_cast<int64_t>(pending) <= smallest_output_limit_) return false;
  std::lock_guard lock(mutex_);
  const OutputLimit& limit =
      session.subscriptions() > 0 ? output_limits_.pubsub : output_limits_.normal;
  const int64_t bytes = static_cast<int64_t>(pending);
  if (limit.hard > 0 && bytes > limit.hard) return true;
  if (limit.soft == 0 || bytes <= limit.soft) {
    session.over_soft_limit_since_ms = 0;
    return false;
  }
  const int64_t now = MonotonicMs();
  if (session.over_soft_limit_since_ms == 0) session.over_soft_limit_since_ms = now;
  return now - session.over_soft_limit_since_ms > limit.soft_seconds * 1000;
}

void Engine::CloseIdle() {
  if (idle_timeout_ms_ == 0) return;
  for (const auto& [id, session] : sessions_) {
    if (session->closing() || session->is_blocked() || session->postponed || session->monitor ||
        session->subscriptions() > 0) {
      continue;
    }
    if (now_ms_ - session->active_ms > idle_timeout_ms_) Kill(*session);
  }
}

// ---- maxmemory

bool Engine::MakeRoom() {
  // Asking for the size of the heap takes longer than erasing a key.
  constexpr int kKeysAtATime = 16;
  while (UsedMemory() > max_memory_) {
    for (int i = 0; i < kKeysAtATime; ++i) {
      if (!EvictOne()) return UsedMemory() <= max_memory_;
    }
  }
  return true;
}

bool Engine::EvictOne() {
  const std::string policy = config_.Get("maxmemory-policy");
  if (policy == "noeviction") return false;
  const bool only_volatile = policy.starts_with("volatile-");
  const std::string_view order = std::string_view(policy).substr(policy.find('-') + 1);
  constexpr int kSample = 5;
  Entry* victim = nullptr;
  int victim_database = 0;
  // Lower goes first.
  auto rank = [&](const Entry& entry) -> int64_t {
    if (order == "lru") return entry.accessed_at;
    if (order == "lfu") return entry.accesses;
    return order == "ttl" ? entry.expires_at : 0;
  };
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    // Of keys that are still to be loaded none is in memory.
    const Database& database = keyspace_->database(i);
    const auto& entries = only_volatile ? database.volatile_entries() : database.entries();
    for (int sample = 0; sample < kSample && !entries.empty(); ++sample) {
      Entry* entry = entries[random() % entries.size()];
      if (victim != nullptr && rank(*entry) >= rank(*victim)) continue;
      victim = entry;
      victim_database = i;
    }
  }
  if (victim == nullptr) return false;
  Modified(victim_database, victim->key());
  Erase(victim_database, victim);
  ++statistics_.evicted;
  return true;
}

}  // namespace liveexec::demo
