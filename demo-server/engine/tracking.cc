#include "demo-server/engine/tracking.h"

#include <algorithm>
#include <utility>

#include "demo-server/engine/engine.h"
#include "demo-server/protocol/reply.h"

namespace liveexec::demo {

void Tracking::Start(Session& session) {
  clients_.insert(&session);
  ClientTracking& tracking = session.tracking;
  if (tracking.broadcast) {
    if (tracking.prefixes.empty()) tracking.prefixes.emplace_back();
    for (const std::string& prefix : tracking.prefixes) {
      std::vector<Session*>& listeners = broadcasts_[prefix].listeners;
      if (std::find(listeners.begin(), listeners.end(), &session) == listeners.end()) {
        listeners.push_back(&session);
      }
    }
  }
  for (const std::string& key : tracking.keys) {
    if (readers_[key].insert(&session).second) ++items_;
  }
}

void Tracking::Stop(Session& session) {
  if (clients_.erase(&session) == 0) return;
  for (const std::string& prefix : session.tracking.prefixes) {
    auto found = broadcasts_.find(prefix);
    if (found == broadcasts_.end()) continue;
    std::erase(found->second.listeners, &session);
    if (found->second.listeners.empty()) broadcasts_.erase(found);
  }
  for (const std::string& key : session.tracking.keys) Forget(session, key);
  session.tracking = ClientTracking();
}

void Tracking::Forget(Session& session, const std::string& key) {
  auto found = readers_.find(key);
  if (found == readers_.end()) return;
  items_ -= found->second.erase(&session);
  if (found->second.empty()) readers_.erase(found);
}

void Tracking::Remember(Session& session, absl::Span<const std::string_view> keys) {
  ClientTracking& tracking = session.tracking;
  if (!tracking.on || tracking.broadcast) return;
  const bool hinted = tracking.hint != CachingHint::kNone;
  if ((tracking.opt_in && !hinted) || (tracking.opt_out && hinted)) return;
  for (std::string_view key : keys) {
    if (!tracking.keys.emplace(key).second) continue;
    if (readers_[std::string(key)].insert(&session).second) ++items_;
  }
}

void Tracking::Touch(std::string_view key, Session* writer) {
  for (auto& [prefix, broadcast] : broadcasts_) {
    if (!key.starts_with(prefix)) continue;
    broadcast.changed[std::string(key)] = writer == nullptr ? 0 : writer->id;
    broadcast_due_ = true;
  }
  if (readers_.empty()) return;
  const std::string name(key);
  if (readers_.contains(name)) Invalidate(name, writer);
}

void Tracking::Invalidate(const std::string& key, Session* writer) {
  auto found = readers_.find(key);
  const std::vector<Session*> readers(found->second.begin(), found->second.end());
  items_ -= found->second.size();
  readers_.erase(found);
  for (Session* reader : readers) {
    reader->tracking.keys.erase(key);
    if (reader == writer && reader->tracking.no_loop) continue;
    Tell(*reader, {key}, /*all=*/false, writer);
  }
}

void Tracking::Flush(Session* writer) {
  const std::vector<Session*> clients(clients_.begin(), clients_.end());
  for (Session* client : clients) {
    client->tracking.keys.clear();
    Tell(*client, {}, /*all=*/true, writer);
  }
  readers_.clear();
  items_ = 0;
}

void Tracking::Tell(Session& session, const std::vector<std::string>& keys, bool all,
                    Session* running) {
  if (&session != running) return Send(session, keys, all);
  if (all) session.tracking.untold_all = true;
  session.tracking.untold.insert(session.tracking.untold.end(), keys.begin(), keys.end());
}

void Tracking::AfterReply(Session& session) {
  ClientTracking& tracking = session.tracking;
  if (std::exchange(tracking.untold_all, false)) Send(session, {}, /*all=*/true);
  for (const std::string& key : std::exchange(tracking.untold, {})) {
    Send(session, {key}, /*all=*/false);
  }
}

void Tracking::SendBroadcasts() {
  if (!std::exchange(broadcast_due_, false)) return;
  for (auto& [prefix, broadcast] : broadcasts_) {
    const auto changed = std::exchange(broadcast.changed, {});
    if (changed.empty()) continue;
    for (Session* listener : broadcast.listeners) {
      std::vector<std::string> keys;
      for (const auto& [key, writer] : changed) {
        if (!listener->tracking.no_loop || writer != listener->id) keys.push_back(key);
      }
      if (!keys.empty()) Send(*listener, keys, /*all=*/false);
    }
  }
}

void Tracking::Bound(size_t most) {
  if (most == 0) return;
  while (readers_.size() > most) Invalidate(std::string(readers_.begin()->first), nullptr);
}

void Tracking::Send(Session& session, const std::vector<std::string>& keys, bool all) {
  Session* target = &session;
  const uint64_t redirect = session.tracking.redirect;
  if (redirect != 0) {
    auto found = engine_.sessions().find(redirect);
    if (found == engine_.sessions().end()) {
      session.tracking.broken_redirect = true;
      if (session.protocol < 3) return;
      Reply reply(&session.out, session.protocol);
      reply.Push(2);
      reply.Bulk("tracking-redir-broken");
      reply.Integer(static_cast<int64_t>(redirect));
      return engine_.Pend(session);
    }
    target = found->second;
  }
  Reply reply(&target->out, target->protocol);
  if (target->protocol > 2) {
    reply.Push(2);
    reply.Bulk("invalidate");
  } else if (redirect != 0 && target->subscriptions() > 0) {
    reply.Array(3);
    reply.Bulk("message");
    reply.Bulk("__redis__:invalidate");
  } else {
    return;  // RESP2 has no way to tell it
  }
  if (all) {
    target->protocol > 2 ? reply.Null() : reply.NullArray();
  } else {
    reply.Array(keys.size());
    for (const std::string& key : keys) reply.Bulk(key);
  }
  engine_.Pend(*target);
}

}  // namespace liveexec::demo
