// PubSub: who listens to which channel or pattern.
//
// The tables index what the sessions themselves list (Session::channels and so on), so an upgrade
// carries only the sessions. Guarded by the engine's lock.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_PUBSUB_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_PUBSUB_H_

#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "demo-server/engine/session.h"

namespace liveexec::demo {

enum class ChannelKind : uint8_t { kChannel = 0, kPattern = 1, kShard = 2 };

class PubSub {
 public:
  using Subscribers = absl::flat_hash_map<std::string, absl::flat_hash_set<Session*>>;

  // False when it was subscribed already.
  bool Subscribe(Session& session, ChannelKind kind, std::string_view channel);
  bool Unsubscribe(Session& session, ChannelKind kind, std::string_view channel);
  void Forget(Session& session);
  // Indexes what a rehydrated session lists.
  void Adopt(Session& session);

  // Appends the message to every receiver's output and calls delivered(receiver). Returns their
  // number; a session counts once for its channel and once for each pattern of its.
  int Publish(std::string_view channel, std::string_view message,
              absl::FunctionRef<void(Session&)> delivered);
  int PublishShard(std::string_view channel, std::string_view message,
                   absl::FunctionRef<void(Session&)> delivered);

  const Subscribers& subscribers(ChannelKind kind) const { return tables_[Index(kind)]; }

  static ChannelNames& ListOf(Session& session, ChannelKind kind);

 private:
  static size_t Index(ChannelKind kind) { return static_cast<size_t>(kind); }
  void RemoveFrom(ChannelKind kind, const std::string& channel, Session& session);

  Subscribers tables_[3];
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_PUBSUB_H_
