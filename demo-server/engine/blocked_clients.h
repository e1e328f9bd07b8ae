// BlockedClients: who waits for which key, in the order in which they came, and until when.
//
// An index over Session::blocked. Guarded by the engine's lock.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_BLOCKED_CLIENTS_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_BLOCKED_CLIENTS_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "demo-server/engine/session.h"

namespace liveexec::demo {

class BlockedClients {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  size_t with_deadline() const { return deadlines_.size(); }

  // Puts the session, which is not blocked, behind those that wait already. `how.sequence` is given
  // here.
  void Block(Session& session, Blocked how);
  // A rehydrated session, which says itself that it is blocked: it goes to its old place.
  void Adopt(Session& session);
  // No longer waits; session.blocked is as new.
  void Unblock(Session& session);

  bool Waiting(int database, std::string_view key) const;
  // The sessions that wait for a key, first come first.
  std::vector<Session*> WaitingFor(const KeyName& name) const;

  // The key has come to be: to be looked at by the next TakeReady.
  void SignalReady(int database, std::string_view key);
  // Every key that somebody waits for in `database` and that may exist now, see SWAPDB.
  void SignalAll(int database);
  bool has_ready() const { return !ready_.empty(); }
  std::vector<KeyName> TakeReady() { return std::exchange(ready_, {}); }

  // The earliest deadline, on CLOCK_MONOTONIC in ms.
  std::optional<int64_t> NextDeadline() const;
  // A session whose deadline is not after `now`, or null.
  Session* Overdue(int64_t now) const;

 private:
  void Index(Session& session);

  absl::flat_hash_map<KeyName, std::vector<Session*>> waiting_;  // each by Blocked::sequence
  std::set<std::pair<int64_t, Session*>> deadlines_;
  std::vector<KeyName> ready_;
  uint64_t next_sequence_ = 1;
  size_t size_ = 0;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_BLOCKED_CLIENTS_H_
