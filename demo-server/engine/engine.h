// Engine: the server apart from its connections. Bytes go in, bytes come out; it knows neither
// libuv nor files.
//
//   Engine engine(options, &host);
//   engine.Open(session);
//   auto progress = engine.Process(session, input, output);  // runs the commands
//   Send(output);
//   while (Session* other = engine.TakePending(loop)) Send(engine.TakeOutput(*other, output));
//
// Threads. One lock guards everything, sessions included. Process takes it once for a whole batch
// of input. Several loop threads may each serve their own sessions. What a command does to the
// session of another loop (a message, an answer to a blocked pop, CLIENT KILL) is put into that
// session, which is listed as pending, and the host wakes the loop; so it is the session, never a
// queue between threads, that holds what was not sent, and an upgrade at any moment finds it there.
//
// Public methods that say "locks" are for the owners of connections. All others need the lock held:
// they are for the commands, and for export while every thread is parked.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_ENGINE_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "demo-server/data/keyspace.h"
#include "demo-server/engine/blocked_clients.h"
#include "demo-server/engine/command_table.h"
#include "demo-server/engine/config.h"
#include "demo-server/engine/config_values.h"
#include "demo-server/engine/pubsub.h"
#include "demo-server/engine/session.h"
#include "demo-server/engine/tracking.h"
#include "demo-server/engine/watches.h"
#include "demo-server/protocol/reply.h"

namespace liveexec::demo {

enum class PopResult;

// What the engine asks of the program around it. Called with the lock held, on any loop thread.
class EngineHost {
 public:
  virtual ~EngineHost() = default;
  // Loop `loop` is to call TakePending soon.
  virtual void WakeLoop(int loop) = 0;
  // The main loop is to call RunTimers soon: there is an earlier deadline.
  virtual void DeadlineMoved() = 0;
  // SHUTDOWN.
  virtual void RequestShutdown() = 0;
  // LIVEEXEC UPGRADE; empty for the default binary.
  virtual void RequestUpgrade(std::string_view binary) = 0;
  // How many clients are connected: more than there are sessions while some are put aside for an
  // upgrade (ClientHandler::OnCold). Any thread.
  virtual size_t Connections() { return 0; }
  // Whether any are put aside. False only when every client's session is known to the engine.
  virtual bool AnyAside() { return false; }
};

struct EngineOptions {
  std::string version = "v1";      // of the program, for INFO
  bool access_statistics = false;  // OBJECT FREQ is served, whatever maxmemory-policy says
  uint64_t seed = 0;               // of the hash tables
  int loops = 1;
  std::vector<absl::Span<const Command>> commands;
};

struct Statistics {
  uint64_t connections = 0;
  uint64_t commands = 0;
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t expired = 0;
  uint64_t evicted = 0;
  uint64_t rejected = 0;  // connections
  uint64_t errors = 0;
  uint64_t input_bytes = 0;
  uint64_t output_bytes = 0;
  uint64_t changes = 0;    // of keys
  uint64_t lost_keys = 0;  // that an upgrade carried and this program could not read
  int64_t started_ms = 0;  // Unix time of the first program's start
};

// Of the program and its upgrades, for INFO and LIVEEXEC.
struct ProgramState {
  uint64_t generation = 0;
  int tcp_port = 0;
  std::string executable;
  std::vector<std::string> history;  // a line for each upgrade
};

class Engine {
 public:
  Engine(EngineOptions options, EngineHost* host);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  std::mutex& mutex() { return mutex_; }

  // A new connection's session; it gets its id. False when there are too many (maxclients): then it
  // has an error as its only output, see TakeOutput. Locks.
  bool Open(Session& session);
  // The connection is gone. Locks.
  void Close(Session& session);

  // What the connection is to do besides sending.
  struct Output {
    bool close_after_output = false;
    bool close_now = false;
    bool resume_input = false;  // offer the unconsumed input again: the session no longer waits
  };
  struct Progress {
    size_t consumed = 0;
    size_t wanted =
        0;  // of the input that is left: no command is complete before it has that many bytes
    Output output;
    bool others_pending = false;  // TakePending has something
    // The next command looks at all clients, and some are put aside: have them taken back, call
    // AllAreHere, and offer the input again.
    bool needs_everyone = false;
  };
  // Runs the complete commands at the start of `input`; stops at one that blocks. Swaps the output
  // with `output`, whose memory is used again. On session.loop's thread. Locks.
  Progress Process(Session& session, std::string_view input, std::string& output);

  // All clients are here that could be had back: the session's next command runs in any case. On
  // session.loop's thread. Locks.
  void AllAreHere(Session& session);

  // Whether the session, all of whose input has been consumed and whose output was taken, may be
  // forgotten and made again from its image: nobody else refers to it. Locks.
  bool MayGoAside(const Session& session);
  // Output that was put into the session from elsewhere, as by Process. Locks.
  Output TakeOutput(Session& session, std::string& output);
  // Gives back output that could not be sent now; it goes before what has come since. Locks.
  void ReturnOutput(Session& session, std::string_view output);
  // Whether the connection is to be closed as its peer does not take what it asks for; `pending`
  // bytes wait to be sent. Locks only if there are many.
  bool ExceedsOutputLimit(Session& session, size_t pending);
  // The peer will send no more. A session that waits ends now, so that it is not served in vain:
  // true. Locks.
  bool PeerEnded(Session& session);
  // A session of `loop` that another session has put something into, or null. On that loop's
  // thread, which then calls TakeOutput; until null. Locks.
  Session* TakePending(int loop);
  // Ends what is overdue; returns in how many ms to call again. On the main loop's thread (loop 0).
  // Locks.
  int RunTimers();

  // ---- For the commands.
  const EngineOptions& options() const { return options_; }
  EngineHost& host() { return *host_; }
  Keyspace& keyspace() { return *keyspace_; }
  const Keyspace& keyspace() const { return *keyspace_; }
  PubSub& pubsub() { return pubsub_; }
  Watches& watches() { return watches_; }
  Tracking& tracking() { return tracking_; }
  // Whose command runs; null between commands.
  Session* running() const { return running_; }
  BlockedClients& blocked() { return blocked_; }
  const CommandTable& table() const { return table_; }
  Config& config() { return config_; }
  const Config& config() const { return config_; }
  Statistics& statistics() { return statistics_; }
  const Statistics& statistics() const { return statistics_; }
  ProgramState& program() { return program_; }
  // Connected clients.
  size_t ClientCount() const;
  const std::map<uint64_t, Session*>& sessions() const { return sessions_; }
  std::vector<uint64_t>& calls() { return calls_; }  // by CommandTable::IndexOf
  const std::vector<uint64_t>& calls() const { return calls_; }
  uint64_t random();
  uint64_t operations_per_second() const { return operations_per_second_; }

  int64_t now() const { return now_ms_; }  // Unix time, ms, of the batch
  static int64_t MonotonicMs();
  void RefreshClock();

  // The entry of `key`; one that has expired is erased and not found.
  Entry* Find(int database, std::string_view key);
  // `key` must be absent. Wakes who waits for it.
  Entry* Insert(int database, std::string_view key, Value value);
  void Erase(int database, Entry* entry) { keyspace_->database(database).Erase(entry); }
  // To be called for every key that was changed, added or removed.
  void Modified(int database, std::string_view key) {
    ++statistics_.changes;
    keyspace_->database(database).Modified(key);
    if (!watches_.empty()) watches_.Touch(database, key);
    if (!tracking_.empty()) tracking_.Touch(key, running_);
  }
  void Expire(int database, Entry* entry);
  // False while writes are paused: then an expired key is not found, but stays.
  bool may_expire() const { return pause_until_ms_ == 0 || writing_; }

  // ---- CLIENT PAUSE (engine_pause.cc). A client whose command has to wait is "postponed": its
  // input stays where it is.
  // Never makes a pause that is under way shorter or milder. `until_ms` on CLOCK_MONOTONIC.
  void Pause(int64_t until_ms, bool writes_only);
  void Unpause();
  size_t postponed() const { return postponed_; }
  // Whether `password` is the one that clients must give; true if they need not.
  bool IsPassword(std::string_view password) const {
    return password_.empty() || password == password_;
  }
  bool needs_password() const { return !password_.empty(); }
  // In bytes, of the heap.
  static uint64_t UsedMemory();
  // To be called when parameters of `config` have changed.
  void ApplyConfig();

  // Runs one command, as if `session` had sent it. Used for EXEC too.
  void Run(Session& session, const Command& command, absl::Span<const std::string_view> arguments,
           Reply& reply, bool in_transaction);
  // The command, or null after an error reply.
  const Command* Resolve(absl::Span<const std::string_view> arguments, Reply& reply) const;

  void Block(Session& session, Blocked how);
  enum class Unblocking { kServed, kTimeout, kError };
  void Unblock(Session& session, Unblocking why);
  // Something was put into `session`.
  void Pend(Session& session);
  // Closes the connection of `session`, which gets nothing more.
  void Kill(Session& session);
  // Where replies to `session` outside of its own commands go.
  Reply ReplyTo(Session& session);

  // ---- For rehydration.
  // Goes on with `keyspace`, borrowed from the memory that it is in, and drops the one it had.
  void UseKeyspace(Keyspace* keyspace) {
    own_keyspace_.reset();
    keyspace_ = keyspace;
  }
  // Makes a session known that was read from an image, id included.
  void Adopt(Session& session);
  uint64_t next_session_id() const { return next_session_id_; }
  void set_next_session_id(uint64_t id) { next_session_id_ = id; }

 private:
  Output Take(Session& session, std::string& output);
  bool NeedsEveryone(const Session& session, absl::Span<const std::string_view> arguments) const;
  void Execute(Session& session, absl::Span<const std::string_view> arguments);
  void ExecuteOne(Session& session, absl::Span<const std::string_view> arguments);
  // A command that did not run: it spoils the transaction.
  void Refuse(Session& session, std::string_view name);
  bool Queue(Session& session, const Command& command, absl::Span<const std::string_view> arguments,
             Reply& reply);
  void Track(Session& session, const Command& command, absl::Span<const std::string_view> arguments,
             bool in_transaction);
  void FeedMonitors(const Session& session, absl::Span<const std::string_view> arguments);
  void ServeReady();
  PopResult PopFor(Session& session, const KeyName& name, Reply& reply);
  // Whether the parsed command of `session` is to wait for the end of the pause.
  bool Postpone(Session& session);
  void EndPostponement(Session& session);
  void ApplyLimits();
  void CloseIdle();
  // Evicts as maxmemory-policy says. False when there is still too much.
  bool MakeRoom();
  bool EvictOne();
  // False after an error reply: the command may not run as things are.
  bool MayRun(const Session& session, const Command& command, Reply& reply);
  void ExpireSome();
  void ExpireIn(int database);

  const EngineOptions options_;
  EngineHost* const host_;
  std::mutex mutex_;

  // Guarded by mutex_.
  CommandTable table_;
  StoredPtr<Keyspace> own_keyspace_;
  Keyspace* keyspace_;
  PubSub pubsub_;
  Watches watches_;
  BlockedClients blocked_;
  Tracking tracking_{*this};
  Config config_;
  Statistics statistics_;
  ProgramState program_;
  std::map<uint64_t, Session*> sessions_;
  std::vector<std::vector<Session*>> pending_;  // by loop
  std::vector<uint64_t> calls_;
  std::string discarded_;  // replies that CLIENT REPLY suppresses
  uint64_t next_session_id_ = 1;
  uint64_t random_state_;
  int64_t now_ms_ = 0;
  int current_loop_ = -1;  // whose thread holds the lock, and will look for pending sessions
  int monitors_ = 0;
  // From config_, which is what crosses.
  int64_t pause_until_ms_ = 0;  // 0: no pause
  bool pause_writes_only_ = false;
  bool active_expire_ = true;
  Session* running_ = nullptr;
  bool writing_ = false;  // the command that runs may write
  size_t postponed_ = 0;
  std::string password_;
  size_t max_tracked_keys_ = 0;  // 0: unlimited
  uint64_t max_memory_ = 0;      // 0: unlimited
  uint64_t max_clients_ = 0;
  int64_t idle_timeout_ms_ = 0;
  OutputLimits output_limits_;
  std::atomic<int64_t> smallest_output_limit_ = 0;  // any thread
  uint64_t operations_per_second_ = 0;
  uint64_t sampled_commands_ = 0;
  int64_t sampled_ms_ = 0;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_ENGINE_H_
