// Tracking: who is to be told which keys have changed (CLIENT TRACKING), so that clients can keep
// copies of their own.
//
// Like PubSub an index over what the sessions list themselves (Session::tracking), so an upgrade
// carries only the sessions. Keys are tracked by name, whatever their database, as by Redis.
// Guarded by the engine's lock.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_TRACKING_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_TRACKING_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"
#include "demo-server/engine/session.h"

namespace liveexec::demo {

class Engine;

class Tracking {
 public:
  explicit Tracking(Engine& engine) : engine_(engine) {}

  bool empty() const { return clients_.empty(); }
  size_t clients() const { return clients_.size(); }
  size_t keys() const { return readers_.size(); }
  size_t items() const { return items_; }
  size_t prefixes() const { return broadcasts_.size(); }

  // session.tracking says how. Also for a rehydrated session.
  void Start(Session& session);
  void Stop(Session& session);

  // The session has been told what `keys` hold.
  void Remember(Session& session, absl::Span<const std::string_view> keys);
  // A key was changed, added or removed by `writer`, or by itself (null).
  void Touch(std::string_view key, Session* writer);
  // All keys of a database are gone.
  void Flush(Session* writer);
  // The command of `session` has replied: it gets what it was to be told meanwhile.
  void AfterReply(Session& session);
  // Sends what has gathered for broadcasting.
  void SendBroadcasts();
  // Forgets keys beyond so many, with a message for each.
  void Bound(size_t most);

 private:
  struct Broadcast {
    std::vector<Session*> listeners;
    std::map<std::string, uint64_t> changed;  // to the writer's number; 0: nobody
  };

  void Forget(Session& session, const std::string& key);
  void Invalidate(const std::string& key, Session* writer);
  // A message for `session`: later if its command is running.
  void Tell(Session& session, const std::vector<std::string>& keys, bool all, Session* running);
  void Send(Session& session, const std::vector<std::string>& keys, bool all);

  Engine& engine_;
  absl::flat_hash_set<Session*> clients_;
  absl::flat_hash_map<std::string, absl::flat_hash_set<Session*>> readers_;
  std::map<std::string, Broadcast> broadcasts_;  // by prefix
  size_t items_ = 0;                             // pairs of key and reader
  bool broadcast_due_ = false;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_TRACKING_H_
