#include "demo-server/engine/blocked_clients.h"

#include <algorithm>
#include <string>

namespace liveexec::demo {

void BlockedClients::Block(Session& session, Blocked how) {
  how.sequence = next_sequence_++;
  session.blocked = std::move(how);
  Index(session);
}

void BlockedClients::Adopt(Session& session) {
  next_sequence_ = std::max(next_sequence_, session.blocked.sequence + 1);
  Index(session);
}

void BlockedClients::Index(Session& session) {
  auto before = [](const Session* a, const Session* b) {
    return a->blocked.sequence < b->blocked.sequence;
  };
  for (const std::string& key : session.blocked.keys) {
    std::vector<Session*>& queue = waiting_[KeyName{session.database, key}];
    auto place = std::upper_bound(queue.begin(), queue.end(), &session, before);
    // A key may be named twice in one command.
    if (place != queue.begin() && *(place - 1) == &session) continue;
    queue.insert(place, &session);
  }
  if (session.blocked.deadline_ms != 0) {
    deadlines_.emplace(session.blocked.deadline_ms, &session);
  }
  ++size_;
}

void BlockedClients::Unblock(Session& session) {
  for (const std::string& key : session.blocked.keys) {
    auto found = waiting_.find(KeyName{session.database, key});
    if (found == waiting_.end()) continue;
    std::erase(found->second, &session);
    if (found->second.empty()) waiting_.erase(found);
  }
  deadlines_.erase({session.blocked.deadline_ms, &session});
  session.blocked = Blocked();
  --size_;
}

bool BlockedClients::Waiting(int database, std::string_view key) const {
  return waiting_.contains(KeyName{database, std::string(key)});
}

std::vector<Session*> BlockedClients::WaitingFor(const KeyName& name) const {
  auto found = waiting_.find(name);
  return found == waiting_.end() ? std::vector<Session*>() : found->second;
}

void BlockedClients::SignalReady(int database, std::string_view key) {
  if (empty()) return;
  KeyName name{database, std::string(key)};
  if (!waiting_.contains(name)) return;
  if (std::find(ready_.begin(), ready_.end(), name) == ready_.end()) {
    ready_.push_back(std::move(name));
  }
}

void BlockedClients::SignalAll(int database) {
  for (const auto& [name, queue] : waiting_) {
    if (name.database == database) SignalReady(database, name.key);
  }
}

std::optional<int64_t> BlockedClients::NextDeadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

Session* BlockedClients::Overdue(int64_t now) const {
  if (deadlines_.empty() || deadlines_.begin()->first > now) return nullptr;
  return deadlines_.begin()->second;
}

}  // namespace liveexec::demo
