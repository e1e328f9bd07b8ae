// Session: all that the server knows of one client, apart from its connection.
//
// Passive data: the engine's parts work on it. Guarded by the engine's lock, parser and loop
// excepted, which belong to the session's loop thread. What an upgrade carries is in
// session_image.h.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_SESSION_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_SESSION_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "demo-server/engine/channel_names.h"
#include "demo-server/protocol/resp_parser.h"

namespace liveexec::demo {

struct Command;

// A key of one database.
struct KeyName {
  int database = 0;
  std::string key;
  friend bool operator==(const KeyName&, const KeyName&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const KeyName& name) {
    return H::combine(std::move(state), name.database, name.key);
  }
};

// MULTI ... EXEC.
struct Transaction {
  bool open = false;
  bool refused = false;   // a command could not be queued: EXEC will say EXECABORT
  bool outdated = false;  // a watched key was modified: EXEC will reply null
  std::vector<std::vector<std::string>> commands;
  std::vector<KeyName> watched;
};

enum class BlockingOperation : uint8_t {
  kNone = 0,
  kListPop = 1,       // BLPOP, BRPOP
  kListMove = 2,      // BLMOVE, BRPOPLPUSH
  kListPopMany = 3,   // BLMPOP
  kScorePop = 4,      // BZPOPMIN, BZPOPMAX
  kScorePopMany = 5,  // BZMPOP
};

// A client that waits for a list or a sorted set to have elements.
struct Blocked {
  BlockingOperation operation = BlockingOperation::kNone;
  bool from_front = false;  // the list's left end, or the lowest scores
  bool to_front = false;    // kListMove
  int64_t count = 0;        // kListPopMany, kScorePopMany
  std::string destination;  // kListMove
  std::vector<std::string> keys;
  int64_t deadline_ms = 0;  // on CLOCK_MONOTONIC; 0: none
  uint64_t sequence = 0;    // who came first
};

enum class ReplyMode : uint8_t { kOn = 0, kOff = 1, kSkipNext = 2, kSkipThis = 3 };

// CLIENT CACHING, about the next command.
enum class CachingHint : uint8_t { kNone = 0, kYes = 1, kNo = 2 };

// CLIENT TRACKING; see tracking.h.
struct ClientTracking {
  bool on = false;
  bool broadcast = false;
  bool opt_in = false;
  bool opt_out = false;
  bool no_loop = false;
  bool broken_redirect = false;
  CachingHint hint = CachingHint::kNone;
  uint64_t redirect = 0;  // to the client of this number; 0: to itself
  std::vector<std::string> prefixes;
  absl::flat_hash_set<std::string> keys;  // that it may have copies of
  // What its own command has changed; it is told after the reply.
  std::vector<std::string> untold;
  bool untold_all = false;
};

// The connection of a session, as the engine sees it.
class SessionOwner {
 public:
  virtual ~SessionOwner() = default;
};

struct Session {
  // The connection that it belongs to, for its owner's use.
  SessionOwner* owner = nullptr;
  int loop = 0;  // the index of the loop thread that serves it
  RespParser parser;

  uint64_t id = 0;
  std::string name;
  std::string library_name;
  std::string library_version;
  std::string address;        // the client's
  std::string local_address;  // ours
  int fd = -1;
  int database = 0;
  int protocol = 2;
  int64_t created_ms = 0;  // Unix time
  int64_t active_ms = 0;   // Unix time of the last command
  const Command* last_command = nullptr;
  uint64_t commands = 0;      // since it connected
  bool authenticated = true;  // or needs not be
  ReplyMode reply_mode = ReplyMode::kOn;
  bool no_evict = false;
  bool no_touch = false;
  bool monitor = false;

  Transaction transaction;
  ChannelNames channels;
  ChannelNames patterns;
  ChannelNames shard_channels;
  Blocked blocked;
  ClientTracking tracking;

  // Replies and messages that the connection has not been given yet.
  std::string out;
  bool close_after_output = false;       // QUIT, a protocol error
  bool killed = false;                   // CLIENT KILL: close, output or not
  bool resume_input = false;             // no longer blocked: what came meanwhile is to be run
  bool all_are_here = false;             // Engine::AllAreHere, for the next command
  bool pending = false;                  // listed in Engine::pending_
  int64_t over_soft_limit_since_ms = 0;  // on CLOCK_MONOTONIC; 0: it is not
  bool postponed = false;                // its next command waits for the end of CLIENT PAUSE

  bool is_blocked() const { return blocked.operation != BlockingOperation::kNone; }
  bool closing() const { return close_after_output || killed; }
  size_t subscriptions() const { return channels.size() + patterns.size() + shard_channels.size(); }
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_SESSION_H_
