// Engine: clients that wait, and what happens by itself as time goes by.
#include <algorithm>
#include <new>
#include <utility>

#include "demo-server/engine/engine.h"
#include "demo-server/engine/pops.h"

namespace liveexec::demo {

void Engine::Block(Session& session, Blocked how) {
  const int64_t deadline = how.deadline_ms;
  const auto before = blocked_.NextDeadline();
  blocked_.Block(session, std::move(how));
  if (deadline != 0 && (!before.has_value() || deadline < *before)) host_->DeadlineMoved();
}

void Engine::Unblock(Session& session, Unblocking why) {
  if (why == Unblocking::kTimeout) {
    ReplyTo(session).NullArray();
  } else if (why == Unblocking::kError) {
    ReplyTo(session).Error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
  }
  blocked_.Unblock(session);
  session.resume_input = true;
  Pend(session);
}

PopResult Engine::PopFor(Session& session, const KeyName& name, Reply& reply) {
  const size_t replied = reply.size();
  try {
    return Pop(*this, name.database, name.key, session.blocked, reply);
  } catch (const std::bad_alloc&) {
    // Not an error of the command that is just running.
    reply.Truncate(replied);
    reply.Error(kOutOfMemory);
    return PopResult::kDone;
  }
}

void Engine::ServeReady() {
  // Serving one client may make another key ready (BLMOVE), and so on: each round serves somebody
  // or is the last.
  while (blocked_.has_ready()) {
    for (const KeyName& name : blocked_.TakeReady()) {
      for (Session* session : blocked_.WaitingFor(name)) {
        Reply reply = ReplyTo(*session);
        const PopResult result = PopFor(*session, name, reply);
        if (result == PopResult::kNothing) break;
        if (result == PopResult::kDone) Unblock(*session, Unblocking::kServed);
      }
    }
  }
}

int Engine::RunTimers() {
  constexpr int kTickMs = 100;
  std::lock_guard lock(mutex_);
  ResidentUpdate update(storage_heap);
  RefreshClock();
  current_loop_ = 0;
  const int64_t now = MonotonicMs();
  while (Session* session = blocked_.Overdue(now)) Unblock(*session, Unblocking::kTimeout);
  if (pause_until_ms_ != 0 && pause_until_ms_ <= now) Unpause();
  if (pause_until_ms_ == 0 && active_expire_) ExpireSome();
  if (!tracking_.empty()) tracking_.SendBroadcasts();
  if (now - sampled_ms_ >= 1000) {
    operations_per_second_ = sampled_ms_ == 0 ? 0
                                              : (statistics_.commands - sampled_commands_) * 1000 /
                                                    static_cast<uint64_t>(now - sampled_ms_);
    sampled_commands_ = statistics_.commands;
    sampled_ms_ = now;
    CloseIdle();
  }
  current_loop_ = -1;
  int64_t next = blocked_.NextDeadline().value_or(now + kTickMs);
  if (pause_until_ms_ != 0) next = std::min(next, pause_until_ms_);
  return static_cast<int>(std::clamp<int64_t>(next - now, 1, kTickMs));
}

void Engine::ExpireSome() {
  for (int database = 0; database < Keyspace::kDatabases; ++database) ExpireIn(database);
}

void Engine::ExpireIn(int database) {
  // As long as a sample finds that many are overdue there is more to gain; the rounds bound how
  // long the lock is held.
  constexpr int kRounds = 64;
  constexpr size_t kSample = 20;
  const StoredVector<Entry*>& entries = keyspace_->database(database).volatile_entries();
  for (int round = 0; round < kRounds && !entries.empty(); ++round) {
    size_t expired = 0;
    for (size_t i = 0; i < kSample && !entries.empty(); ++i) {
      Entry* entry = entries[random() % entries.size()];
      if (entry->expires_at > now_ms_) continue;
      Expire(database, entry);
      ++expired;
    }
    if (expired <= kSample / 4) return;
  }
}

}  // namespace liveexec::demo
