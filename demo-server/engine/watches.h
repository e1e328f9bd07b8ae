// Watches: who watches which key for MULTI. Touching a key makes the transactions that depend on it
// outdated.
//
// Like PubSub an index over what the sessions list themselves. Guarded by the engine's lock.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_WATCHES_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_WATCHES_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "demo-server/data/keyspace.h"
#include "demo-server/engine/session.h"

namespace liveexec::demo {

class Watches {
 public:
  bool empty() const { return watchers_.empty(); }

  void Watch(Session& session, int database, std::string_view key);
  // All keys of `session`; its transaction is not outdated any more.
  void Unwatch(Session& session);
  // Indexes what a rehydrated session lists.
  void Adopt(Session& session);

  // The keys of a database that somebody watches.
  std::vector<std::string> KeysIn(int database) const;
  void Touch(int database, std::string_view key);
  // Touches the keys that exist in `before` or, if given, in `after`: the database is about to be
  // emptied, or replaced by that one.
  void TouchAll(int database, const Database& before, const Database* after);

 private:
  absl::flat_hash_map<KeyName, std::vector<Session*>> watchers_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_WATCHES_H_
