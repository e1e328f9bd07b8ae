#include "demo-server/engine/engine.h"

#include <algorithm>
#include <ctime>
#include <utility>

namespace liveexec::demo {
namespace {

int64_t ClockMs(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

}  // namespace

Engine::Engine(EngineOptions options, EngineHost* host)
    : options_(std::move(options)),
      host_(host),
      table_(options_.commands),
      own_keyspace_(MakeStored<Keyspace>(options_.seed)),
      keyspace_(own_keyspace_.get()),
      pending_(static_cast<size_t>(options_.loops)),
      calls_(table_.size()),
      random_state_(options_.seed | 1) {
  RefreshClock();
  statistics_.started_ms = now_ms_;
  ApplyConfig();
}

int64_t Engine::MonotonicMs() { return ClockMs(CLOCK_MONOTONIC); }

void Engine::RefreshClock() { now_ms_ = ClockMs(CLOCK_REALTIME); }

uint64_t Engine::random() {
  // xorshift64*: picks of SPOP and the like, where the client may not rely on more than variety.
  random_state_ ^= random_state_ >> 12;
  random_state_ ^= random_state_ << 25;
  random_state_ ^= random_state_ >> 27;
  return random_state_ * 0x2545F4914F6CDD1Du;
}

bool Engine::Open(Session& session) {
  std::lock_guard lock(mutex_);
  RefreshClock();
  if (ClientCount() > max_clients_) {
    ++statistics_.rejected;
    Reply(&session.out, session.protocol).Error("ERR max number of clients reached");
    session.close_after_output = true;
    return false;
  }
  session.id = next_session_id_++;
  session.created_ms = now_ms_;
  session.active_ms = now_ms_;
  session.authenticated = !needs_password();
  sessions_.emplace(session.id, &session);
  ++statistics_.connections;
  return true;
}

void Engine::Close(Session& session) {
  std::lock_guard lock(mutex_);
  if (session.is_blocked()) blocked_.Unblock(session);
  pubsub_.Forget(session);
  tracking_.Stop(session);
  watches_.Unwatch(session);
  if (session.monitor) --monitors_;
  EndPostponement(session);
  if (session.pending) std::erase(pending_[static_cast<size_t>(session.loop)], &session);
  sessions_.erase(session.id);
}

bool Engine::MayGoAside(const Session& session) {
  std::lock_guard lock(mutex_);
  return !session.is_blocked() && session.subscriptions() == 0 && !session.monitor &&
         !session.tracking.on && !session.transaction.open && session.transaction.watched.empty() &&
         session.out.empty() && !session.closing() && !session.pending && !session.resume_input &&
         !session.postponed;
}

size_t Engine::ClientCount() const {
  const size_t connections = host_ == nullptr ? 0 : host_->Connections();
  return std::max(sessions_.size(), connections);
}

void Engine::Adopt(Session& session) {
  sessions_.emplace(session.id, &session);
  next_session_id_ = std::max(next_session_id_, session.id + 1);
  pubsub_.Adopt(session);
  watches_.Adopt(session);
  if (session.tracking.on) tracking_.Start(session);
  if (session.is_blocked()) blocked_.Adopt(session);
  if (session.monitor) ++monitors_;
  if (!session.out.empty() || session.closing()) Pend(session);
}

Engine::Progress Engine::Process(Session& session, std::string_view input, std::string& output) {
  std::lock_guard lock(mutex_);
  ResidentUpdate update(storage_heap);
  RefreshClock();
  current_loop_ = session.loop;
  Progress progress;
  // None can be put aside while the lock is held.
  const bool some_aside = host_ != nullptr && host_->AnyAside();
  session.parser.set_stranger(!session.authenticated);
  while (!session.is_blocked() && !session.closing()) {
    const auto result = session.parser.Next(input.substr(progress.consumed));
    if (result == RespParser::kIncomplete) {
      progress.wanted = session.parser.wanted();
      break;
    }
    if (result == RespParser::kError) {
      Reply(&session.out, session.protocol).Error("ERR " + session.parser.error());
      session.close_after_output = true;
      break;
    }
    const bool all_were_called = std::exchange(session.all_are_here, false);
    if (some_aside && !all_were_called && NeedsEveryone(session, session.parser.arguments())) {
      progress.needs_everyone = true;
      break;
    }
    if (pause_until_ms_ != 0 && Postpone(session)) break;
    // The parser's list is stable: nothing is parsed before the command has run.
    Execute(session, session.parser.arguments());
    progress.consumed += session.parser.length();
  }
  if (!tracking_.empty()) tracking_.SendBroadcasts();
  current_loop_ = -1;
  if (session.closing()) progress.consumed = input.size();
  statistics_.input_bytes += progress.consumed;
  progress.output = Take(session, output);
  progress.others_pending = !pending_[static_cast<size_t>(session.loop)].empty();
  return progress;
}

void Engine::AllAreHere(Session& session) {
  std::lock_guard lock(mutex_);
  session.all_are_here = true;
}

Engine::Output Engine::Take(Session& session, std::string& output) {
  // A buffer that one big reply has made is not kept for all the small ones.
  constexpr size_t kKeptCapacity = 64 * 1024;
  output.clear();
  if (output.capacity() > kKeptCapacity) output.shrink_to_fit();
  if (!session.killed) session.out.swap(output);
  statistics_.output_bytes += output.size();
  return {.close_after_output = session.close_after_output,
          .close_now = session.killed,
          .resume_input = std::exchange(session.resume_input, false)};
}

Engine::Output Engine::TakeOutput(Session& session, std::string& output) {
  std::lock_guard lock(mutex_);
  return Take(session, output);
}

void Engine::ReturnOutput(Session& session, std::string_view output) {
  std::lock_guard lock(mutex_);
  session.out.insert(0, output);
  statistics_.output_bytes -= output.size();
}

bool Engine::PeerEnded(Session& session) {
  std::lock_guard lock(mutex_);
  if (!session.is_blocked() && !session.postponed) return false;
  if (session.is_blocked()) blocked_.Unblock(session);
  session.killed = true;
  return true;
}

Session* Engine::TakePending(int loop) {
  std::lock_guard lock(mutex_);
  std::vector<Session*>& list = pending_[static_cast<size_t>(loop)];
  if (list.empty()) return nullptr;
  Session* session = list.back();
  list.pop_back();
  session->pending = false;
  return session;
}

void Engine::Pend(Session& session) {
  if (session.pending) return;
  session.pending = true;
  std::vector<Session*>& list = pending_[static_cast<size_t>(session.loop)];
  list.push_back(&session);
  if (list.size() == 1 && session.loop != current_loop_) host_->WakeLoop(session.loop);
}

void Engine::Kill(Session& session) {
  session.killed = true;
  EndPostponement(session);
  if (session.is_blocked()) blocked_.Unblock(session);
  pubsub_.Forget(session);
  tracking_.Stop(session);
  watches_.Unwatch(session);
  Pend(session);
}

Reply Engine::ReplyTo(Session& session) {
  discarded_.clear();
  const bool silent = session.reply_mode != ReplyMode::kOn;
  return Reply(silent ? &discarded_ : &session.out, session.protocol);
}

// ---- Keys.

Entry* Engine::Find(int database, std::string_view key) {
  Entry* entry = keyspace_->database(database).Find(key);
  if (entry == nullptr || entry->expires_at == kNoExpiry || entry->expires_at > now_ms_) {
    return entry;
  }
  if (may_expire()) Expire(database, entry);
  return nullptr;
}

void Engine::Expire(int database, Entry* entry) {
  ++statistics_.expired;
  Modified(database, entry->key());
  Erase(database, entry);
}

Entry* Engine::Insert(int database, std::string_view key, Value value) {
  Entry* entry = keyspace_->database(database).Insert(key, std::move(value));
  entry->accessed_at = now_ms_;
  blocked_.SignalReady(database, key);
  return entry;
}

}  // namespace liveexec::demo
