// Engine: from arguments to the execution of a command.
#include <algorithm>
#include <cctype>
#include <ctime>
#include <new>
#include <string>

#include "demo-server/engine/call.h"
#include "demo-server/engine/command_keys.h"
#include "demo-server/engine/engine.h"
#include "demo-server/protocol/quote.h"

namespace liveexec::demo {
namespace {

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

bool FitsArity(const Command& command, size_t count) {
  const int size = static_cast<int>(count);
  return command.arity >= 0 ? size == command.arity : size >= -command.arity;
}

std::string UnknownSubcommand(std::string_view container, std::string_view name) {
  std::string text = "ERR unknown subcommand '";
  text.append(name.substr(0, std::min<size_t>(name.find('\0'), 128))).append("'. Try ");
  for (char c : container) text.push_back(static_cast<char>(toupper(c)));
  return text.append(" HELP.");
}

}  // namespace

const Command* Engine::Resolve(absl::Span<const std::string_view> arguments, Reply& reply) const {
  const Command* command = table_.Find(arguments[0]);
  if (command == nullptr) {
    reply.Error(UnknownCommand(arguments));
    return nullptr;
  }
  if ((command->flags & kContainer) != 0 && arguments.size() > 1) {
    const Command* subcommand = table_.FindSubcommand(*command, arguments[1]);
    const bool fits = subcommand != nullptr && FitsArity(*subcommand, arguments.size());
    if (!fits && (command->flags & kLenient) != 0) return command;
    if (subcommand == nullptr) {
      reply.Error(UnknownSubcommand(command->name, arguments[1]));
      return nullptr;
    }
    command = subcommand;
  }
  if (!FitsArity(*command, arguments.size())) {
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

bool Engine::NeedsEveryone(const Session& session,
                           absl::Span<const std::string_view> arguments) const {
  const auto needs = [&](const auto& words) {
    const Command* command = words.empty() ? nullptr : table_.Find(words[0]);
    if (command != nullptr && (command->flags & kContainer) != 0 && words.size() > 1) {
      command = table_.FindSubcommand(*command, words[1]);
    }
    return command != nullptr && (command->flags & kEveryone) != 0;
  };
  if (arguments.empty() || !IsWord(arguments[0], "exec")) return needs(arguments);
  const auto& queued = session.transaction.commands;
  return std::any_of(queued.begin(), queued.end(), needs);
}

void Engine::Execute(Session& session, absl::Span<const std::string_view> arguments) {
  if (arguments.empty()) return;
  const size_t replied = session.out.size();
  try {
    ExecuteOne(session, arguments);
  } catch (const std::bad_alloc&) {
    // Outside of a command's own work, whose errors Run replies.
    running_ = nullptr;
    session.out.resize(replied);
    Reply(&session.out, session.protocol).Error(kOutOfMemory);
    ++statistics_.errors;
  }
}

void Engine::ExecuteOne(Session& session, absl::Span<const std::string_view> arguments) {
  // What a browser sends, perhaps made to by a page from elsewhere: no command of it may run.
  if (IsWord(arguments[0], "post") || IsWord(arguments[0], "host:")) {
    session.killed = true;
    return;
  }
  running_ = &session;
  const ReplyMode mode = session.reply_mode;
  const bool silent = mode == ReplyMode::kOff || mode == ReplyMode::kSkipThis;
  if (silent) discarded_.clear();
  Reply reply(silent ? &discarded_ : &session.out, session.protocol);
  const Command* command = Resolve(arguments, reply);
  if (command == nullptr) {
    Refuse(session, arguments[0]);
  } else if (!session.authenticated && (command->flags & kNoAuth) == 0) {
    reply.Error("NOAUTH Authentication required.");
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
  } else if (max_memory_ != 0 && !MayRun(session, *command, reply)) {
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
  running_ = nullptr;
  if (session.tracking.on) tracking_.AfterReply(session);
}

bool Engine::MayRun(const Session& session, const Command& command, Reply& reply) {
  bool grows = (command.flags & kDenyOom) != 0;
  if (command.name == "exec") {
    for (const auto& words : session.transaction.commands) {
      const Command* queued = table_.Find(words[0]);
      grows = grows || (queued != nullptr && (queued->flags & kDenyOom) != 0);
    }
  }
  // As it is now, before anything is evicted: also commands that free memory make room.
  if (MakeRoom() || !grows) return true;
  std::string text = "OOM command not allowed when used memory > 'maxmemory'.";
  if (command.name == "exec") {
    text.insert(0, "EXECABORT Transaction discarded because of: ");
  }
  reply.Error(text);
  return false;
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
  if ((command.flags & kDenyOom) != 0 && !StorageHasRoom()) return reply.Error(kOutOfMemory);
  Call call(*this, session, command, arguments, reply, in_transaction);
  writing_ = (command.flags & kWrite) != 0;
  const size_t replied = reply.size();
  try {
    StorageGuard guard((command.flags & kDenyOom) != 0);
    command.run(call);
  } catch (const std::bad_alloc&) {
    // The tables are as they were before the element, or the pending key, that there was no memory
    // for.
    reply.Truncate(replied);
    reply.Error(kOutOfMemory);
  }
  writing_ = false;
  if (session.tracking.on) Track(session, command, arguments, in_transaction);
  monitors_ += static_cast<int>(session.monitor) - static_cast<int>(had_monitor);
}

void Engine::Track(Session& session, const Command& command,
                   absl::Span<const std::string_view> arguments, bool in_transaction) {
  if ((command.flags & kReadOnly) != 0) {
    tracking_.Remember(session, KeysOf(command, arguments));
    tracking_.Bound(max_tracked_keys_);
  }
  // CLIENT CACHING is about the next command, or the next transaction.
  if (!session.transaction.open && !in_transaction && !command.name.starts_with("client|")) {
    session.tracking.hint = CachingHint::kNone;
  }
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

}  // namespace liveexec::demo
