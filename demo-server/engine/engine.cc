#include "demo-server/engine/engine.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "demo-server/engine/call.h"
#include "demo-server/engine/pops.h"
#include "demo-server/protocol/quote.h"

namespace liveexec::demo {
namespace {

int64_t ClockMs(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

// The error that Redis has for a name that is no command: the first arguments are part of it, up to
// a limit.
std::string UnknownCommand(absl::Span<const std::string_view> arguments) {
  constexpr size_t kMost = 128;
  std::string list;
  // Redis prints arguments as C strings.
  auto printed = [](std::string_view text) { return text.substr(0, text.find('\0')); };
  for (size_t i = 1; i < arguments.size() && list.size() < kMost; ++i) {
    const size_t room = kMost - list.size();
    list.push_back('\'');
    list.append(printed(arguments[i]).substr(0, room));
    list.append("' ");
  }
  std::string text = "ERR unknown command '";
  text.append(printed(arguments[0]).substr(0, kMost));
  text.append("', with args beginning with: ").append(list);
  return text;
}

std::string UnknownSubcommand(std::string_view container, std::string_view name) {
  std::string text = "ERR unknown subcommand '";
  text.append(name.substr(0, std::min<size_t>(name.find('\0'), 128))).append("'. Try ");
  for (char c : container) text.push_back(static_cast<char>(toupper(c)));
  return text.append(" HELP.");
}

}  // namespace

Engine::Engine(EngineOptions options, EngineHost* host)
    : options_(std::move(options)),
      host_(host),
      table_(options_.commands),
      keyspace_(options_.seed),
      pending_(static_cast<size_t>(options_.loops)),
      calls_(table_.size()),
      random_state_(options_.seed | 1) {
  RefreshClock();
  statistics_.started_ms = now_ms_;
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

void Engine::Open(Session& session) {
  std::lock_guard lock(mutex_);
  RefreshClock();
  session.id = next_session_id_++;
  session.created_ms = now_ms_;
  session.active_ms = now_ms_;
  sessions_.emplace(session.id, &session);
  ++statistics_.connections;
}

void Engine::Close(Session& session) {
  std::lock_guard lock(mutex_);
  if (session.is_blocked()) blocked_.Unblock(session);
  pubsub_.Forget(session);
  watches_.Unwatch(session);
  if (session.monitor) --monitors_;
  if (session.pending) std::erase(pending_[static_cast<size_t>(session.loop)], &session);
  sessions_.erase(session.id);
}

void Engine::Adopt(Session& session) {
  sessions_.emplace(session.id, &session);
  next_session_id_ = std::max(next_session_id_, session.id + 1);
  pubsub_.Adopt(session);
  watches_.Adopt(session);
  if (session.is_blocked()) blocked_.Adopt(session);
  if (session.monitor) ++monitors_;
  if (!session.out.empty() || session.closing()) Pend(session);
}

Engine::Progress Engine::Process(Session& session, std::string_view input, std::string& output) {
  std::lock_guard lock(mutex_);
  RefreshClock();
  current_loop_ = session.loop;
  Progress progress;
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
    // The parser's list is stable: nothing is parsed before the command has run.
    Execute(session, session.parser.arguments());
    progress.consumed += session.parser.length();
  }
  current_loop_ = -1;
  if (session.closing()) progress.consumed = input.size();
  statistics_.input_bytes += progress.consumed;
  progress.output = Take(session, output);
  progress.others_pending = !pending_[static_cast<size_t>(session.loop)].empty();
  return progress;
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
  if (!session.is_blocked()) return false;
  blocked_.Unblock(session);
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
  if (session.is_blocked()) blocked_.Unblock(session);
  pubsub_.Forget(session);
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
  Entry* entry = keyspace_.database(database).Find(key);
  if (entry == nullptr || entry->expires_at == kNoExpiry || entry->expires_at > now_ms_) {
    return entry;
  }
  Expire(database, entry);
  return nullptr;
}

void Engine::Expire(int database, Entry* entry) {
  ++statistics_.expired;
  Modified(database, entry->key());
  Erase(database, entry);
}

Entry* Engine::Insert(int database, std::string_view key, Value value) {
  Entry* entry = keyspace_.database(database).Insert(key, std::move(value));
  entry->accessed_at = now_ms_;
  blocked_.SignalReady(database, key);
  return entry;
}

// ---- Commands.

const Command* Engine::Resolve(absl::Span<const std::string_view> arguments, Reply& reply) const {
  const Command* command = table_.Find(arguments[0]);
  if (command == nullptr) {
    reply.Error(UnknownCommand(arguments));
    return nullptr;
  }
  if ((command->flags & kContainer) != 0 && arguments.size() > 1) {
    const Command* subcommand = table_.FindSubcommand(*command, arguments[1]);
    if (subcommand == nullptr) {
      reply.Error(UnknownSubcommand(command->name, arguments[1]));
      return nullptr;
    }
    command = subcommand;
  }
  const int count = static_cast<int>(arguments.size());
  if (command->arity >= 0 ? count != command->arity : count < -command->arity) {
    std::string text = "wrong number of arguments for '";
    text.append(command->name).append("' command");
    // EXEC fails as a transaction, so that the client knows that it is over.
    text.insert(0,
                command->name == "exec" ? "EXECABORT Transaction discarded because of: " : "ERR ");
    reply.Error(text);
    return nullptr;
  }
  return command;
}

void Engine::Execute(Session& session, absl::Span<const std::string_view> arguments) {
  if (arguments.empty()) return;
  const ReplyMode mode = session.reply_mode;
  const bool silent = mode == ReplyMode::kOff || mode == ReplyMode::kSkipThis;
  if (silent) discarded_.clear();
  Reply reply(silent ? &discarded_ : &session.out, session.protocol);
  const Command* command = Resolve(arguments, reply);
  if (command == nullptr) {
    Refuse(session, arguments[0]);
  } else if (session.protocol == 2 && session.subscriptions() > 0 &&
             (command->flags & kSubscriber) == 0) {
    std::string text = "ERR Can't execute '";
    text.append(command->name);
    text.append(
        "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
        "context");
    reply.Error(text);
    Refuse(session, arguments[0]);
  } else if (!Queue(session, *command, arguments, reply)) {
    Run(session, *command, arguments, reply, /*in_transaction=*/false);
  }
  statistics_.errors += reply.errors();
  if (session.reply_mode == ReplyMode::kSkipThis) {
    session.reply_mode = ReplyMode::kOn;
  } else if (session.reply_mode == ReplyMode::kSkipNext) {
    session.reply_mode = ReplyMode::kSkipThis;
  }
  if (blocked_.has_ready()) ServeReady();
}

void Engine::Refuse(Session& session, std::string_view name) {
  if (IsWord(name, "exec")) {
    watches_.Unwatch(session);
    session.transaction = Transaction();
  } else if (session.transaction.open) {
    session.transaction.refused = true;
  }
}

bool Engine::Queue(Session& session, const Command& command,
                   absl::Span<const std::string_view> arguments, Reply& reply) {
  if (!session.transaction.open || (command.flags & kNotQueued) != 0) return false;
  if ((command.flags & kNoMulti) != 0) {
    reply.Error("ERR Command not allowed inside a transaction");
    session.transaction.refused = true;
    return true;
  }
  session.transaction.commands.emplace_back(arguments.begin(), arguments.end());
  reply.Simple("QUEUED");
  return true;
}

void Engine::Run(Session& session, const Command& command,
                 absl::Span<const std::string_view> arguments, Reply& reply, bool in_transaction) {
  ++statistics_.commands;
  ++session.commands;
  ++calls_[table_.IndexOf(command)];
  session.active_ms = now_ms_;
  session.last_command = &command;
  if (monitors_ > 0 && (command.flags & kAdmin) == 0) FeedMonitors(session, arguments);
  const bool had_monitor = session.monitor;
  Call call(*this, session, command, arguments, reply, in_transaction);
  command.run(call);
  monitors_ += static_cast<int>(session.monitor) - static_cast<int>(had_monitor);
}

void Engine::FeedMonitors(const Session& session, absl::Span<const std::string_view> arguments) {
  timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  std::string micros = std::to_string(time.tv_nsec / 1000);
  micros.insert(0, 6 - micros.size(), '0');
  std::string line = std::to_string(time.tv_sec) + "." + micros + " [" +
                     std::to_string(session.database) + " " + session.address + "]";
  for (std::string_view argument : arguments) line.append(" ").append(Quote(argument));
  for (const auto& [id, listener] : sessions_) {
    if (!listener->monitor) continue;
    Reply(&listener->out, listener->protocol).Simple(line);
    Pend(*listener);
  }
}

// ---- Blocking.

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

void Engine::ServeReady() {
  // Serving one client may make another key ready (BLMOVE), and so on: each round serves somebody
  // or is the last.
  while (blocked_.has_ready()) {
    for (const KeyName& name : blocked_.TakeReady()) {
      for (Session* session : blocked_.WaitingFor(name)) {
        Reply reply = ReplyTo(*session);
        const PopResult result = Pop(*this, name.database, name.key, session->blocked, reply);
        if (result == PopResult::kNothing) break;
        if (result == PopResult::kDone) Unblock(*session, Unblocking::kServed);
      }
    }
  }
}

// ---- Time.

int Engine::RunTimers() {
  constexpr int kTickMs = 100;
  std::lock_guard lock(mutex_);
  RefreshClock();
  current_loop_ = 0;
  const int64_t now = MonotonicMs();
  while (Session* session = blocked_.Overdue(now)) Unblock(*session, Unblocking::kTimeout);
  ExpireSome();
  if (now - sampled_ms_ >= 1000) {
    operations_per_second_ = sampled_ms_ == 0 ? 0
                                              : (statistics_.commands - sampled_commands_) * 1000 /
                                                    static_cast<uint64_t>(now - sampled_ms_);
    sampled_commands_ = statistics_.commands;
    sampled_ms_ = now;
  }
  current_loop_ = -1;
  const auto next = blocked_.NextDeadline();
  if (!next.has_value()) return kTickMs;
  return static_cast<int>(std::clamp<int64_t>(*next - now, 1, kTickMs));
}

void Engine::ExpireSome() {
  for (int database = 0; database < Keyspace::kDatabases; ++database) ExpireIn(database);
}

void Engine::ExpireIn(int database) {
  // As long as a sample finds that many are overdue there is more to gain; the rounds bound how
  // long the lock is held.
  constexpr int kRounds = 64;
  constexpr size_t kSample = 20;
  const StoredVector<Entry*>& entries = keyspace_.database(database).volatile_entries();
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
