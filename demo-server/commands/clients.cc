// CLIENT: the connections, and each one's own settings.
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "demo-server/commands/connection.h"
#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

std::string FlagsOf(const Session& session) {
  std::string flags;
  if (session.monitor) flags += 'O';
  if (session.subscriptions() > 0) flags += 'P';
  if (session.tracking.on) flags += 't';
  if (session.tracking.broken_redirect) flags += 'R';
  if (session.tracking.broadcast) flags += 'B';
  if (session.transaction.open) flags += 'x';
  if (session.is_blocked() || session.postponed) flags += 'b';
  if (session.transaction.outdated) flags += 'd';
  if (session.close_after_output) flags += 'c';
  if (session.address.find('/') != std::string::npos) flags += 'U';
  if (session.no_evict) flags += 'e';
  if (flags.empty()) flags = "N";
  return flags;
}

std::string Describe(const Session& session, int64_t now) {
  auto number = [](auto value) { return std::to_string(value); };
  std::string text = "id=" + number(session.id);
  text += " addr=" + session.address + " laddr=" + session.local_address;
  text += " fd=" + number(session.fd) + " name=" + session.name;
  text += " age=" + number((now - session.created_ms) / 1000);
  text += " idle=" + number((now - session.active_ms) / 1000);
  text += " flags=" + FlagsOf(session) + " db=" + number(session.database);
  text += " sub=" + number(session.channels.size()) + " psub=" + number(session.patterns.size());
  text += " ssub=" + number(session.shard_channels.size());
  text += " multi=" + (session.transaction.open ? number(session.transaction.commands.size())
                                                : std::string("-1"));
  text += " qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0";
  text += " obl=" + number(session.out.size()) + " oll=0 omem=0 tot-mem=0 events=r";
  text += " cmd=";
  text += session.last_command == nullptr ? std::string_view("NULL") : session.last_command->name;
  text += " user=default redir=";
  text += session.tracking.on ? number(session.tracking.redirect) : std::string("-1");
  text += " resp=" + number(session.protocol);
  text += " lib-name=" + session.library_name + " lib-ver=" + session.library_version;
  text += " tot-cmds=" + number(session.commands) + "\n";
  return text;
}

bool IsPubSub(const Session& session) { return session.subscriptions() > 0; }

// A client type's name as a predicate. Null for an unknown one.
enum class Kind { kNormal, kPubSub, kOther };
std::optional<Kind> ReadKind(Call& call, size_t i) {
  if (call.Is(i, "normal")) return Kind::kNormal;
  if (call.Is(i, "pubsub")) return Kind::kPubSub;
  if (call.Is(i, "master") || call.Is(i, "slave") || call.Is(i, "replica")) return Kind::kOther;
  call.reply().Error("ERR Unknown client type '" + std::string(call[i]) + "'");
  return std::nullopt;
}

bool IsOfKind(const Session& session, Kind kind) {
  return kind == Kind::kPubSub ? IsPubSub(session) : kind == Kind::kNormal && !IsPubSub(session);
}

void Id(Call& call) { call.reply().Integer(static_cast<int64_t>(call.session().id)); }

void Info(Call& call) { call.reply().Verbatim(Describe(call.session(), call.now())); }

void List(Call& call) {
  std::string text;
  const auto& sessions = call.engine().sessions();
  // One that was killed is gone, even if the loop that it is on has not closed it yet.
  const auto show = [&](const Session& session) {
    if (!session.killed) text += Describe(session, call.now());
  };
  if (call.size() == 2) {
    for (const auto& [id, session] : sessions) show(*session);
  } else if (call.size() == 4 && call.Is(2, "type")) {
    const auto kind = ReadKind(call, 3);
    if (!kind.has_value()) return;
    for (const auto& [id, session] : sessions) {
      if (IsOfKind(*session, *kind)) show(*session);
    }
  } else if (call.size() > 3 && call.Is(2, "id")) {
    for (size_t i = 3; i < call.size(); ++i) {
      int64_t id = 0;
      if (!call.Integer(i, &id, "ERR Invalid client ID")) return;
      auto found = sessions.find(static_cast<uint64_t>(id));
      if (found != sessions.end()) show(*found->second);
    }
  } else {
    return call.SyntaxError();
  }
  call.reply().Verbatim(text);
}

void SetName(Call& call) {
  if (!ValidClientName(call[2])) return call.reply().Error(kBadClientName);
  call.session().name = std::string(call[2]);
  call.reply().Ok();
}

void GetName(Call& call) {
  if (call.session().name.empty()) return call.reply().Null();
  call.reply().Bulk(call.session().name);
}

void SetInfo(Call& call) {
  std::string* target = call.Is(2, "lib-name")  ? &call.session().library_name
                        : call.Is(2, "lib-ver") ? &call.session().library_version
                                                : nullptr;
  const std::string option(call[2]);
  if (target == nullptr) return call.reply().Error("ERR Unrecognized option '" + option + "'");
  if (!ValidClientName(call[3])) {
    return call.reply().Error("ERR " + option +
                              " cannot contain spaces, newlines or special characters.");
  }
  *target = std::string(call[3]);
  call.reply().Ok();
}

// ---- CLIENT KILL

struct KillFilter {
  std::string_view address;
  std::string_view local_address;
  int64_t id = 0;
  std::optional<Kind> kind;
  std::string_view user;
  bool skip_me = true;
};

bool ReadKillFilter(Call& call, KillFilter* filter) {
  for (size_t i = 2; i < call.size(); i += 2) {
    if (i + 1 >= call.size()) {
      call.SyntaxError();
      return false;
    }
    if (call.Is(i, "id")) {
      if (!ParseInteger(call[i + 1], &filter->id) || filter->id <= 0) {
        call.reply().Error("ERR client-id should be greater than 0");
        return false;
      }
    } else if (call.Is(i, "type")) {
      filter->kind = ReadKind(call, i + 1);
      if (!filter->kind.has_value()) return false;
    } else if (call.Is(i, "addr")) {
      filter->address = call[i + 1];
    } else if (call.Is(i, "laddr")) {
      filter->local_address = call[i + 1];
    } else if (call.Is(i, "user")) {
      filter->user = call[i + 1];
      if (filter->user != "default") {
        call.reply().Error("ERR No such user '" + std::string(filter->user) + "'");
        return false;
      }
    } else if (call.Is(i, "skipme") && (call.Is(i + 1, "yes") || call.Is(i + 1, "no"))) {
      filter->skip_me = call.Is(i + 1, "yes");
    } else {
      call.SyntaxError();
      return false;
    }
  }
  return true;
}

bool Matches(const KillFilter& filter, const Session& session) {
  if (!filter.address.empty() && filter.address != session.address) return false;
  if (!filter.local_address.empty() && filter.local_address != session.local_address) return false;
  if (filter.id != 0 && static_cast<uint64_t>(filter.id) != session.id) return false;
  return !filter.kind.has_value() || IsOfKind(session, *filter.kind);
}

int64_t KillMatching(Call& call, const KillFilter& filter) {
  std::vector<Session*> doomed;
  for (const auto& [id, session] : call.engine().sessions()) {
    if (session->killed || !Matches(filter, *session)) continue;
    if (filter.skip_me && session == &call.session()) continue;
    doomed.push_back(session);
  }
  for (Session* session : doomed) {
    if (session == &call.session()) {
      session->close_after_output = true;  // it gets the reply first
    } else {
      call.engine().Kill(*session);
    }
  }
  return static_cast<int64_t>(doomed.size());
}

void Kill(Call& call) {
  KillFilter filter;
  if (call.size() == 3) {
    filter.address = call[2];
    filter.skip_me = false;
    if (KillMatching(call, filter) == 0) return call.reply().Error("ERR No such client");
    return call.reply().Ok();
  }
  if (ReadKillFilter(call, &filter)) call.reply().Integer(KillMatching(call, filter));
}

void Unblock(Call& call) {
  auto why = Engine::Unblocking::kTimeout;
  if (call.size() == 4) {
    if (call.Is(3, "error")) {
      why = Engine::Unblocking::kError;
    } else if (!call.Is(3, "timeout")) {
      return call.reply().Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    }
  } else if (call.size() != 3) {
    return call.SyntaxError();
  }
  int64_t id = 0;
  if (!call.Integer(2, &id)) return;
  auto found = call.engine().sessions().find(static_cast<uint64_t>(id));
  if (found == call.engine().sessions().end() || !found->second->is_blocked()) {
    return call.reply().Integer(0);
  }
  call.engine().Unblock(*found->second, why);
  call.reply().Integer(1);
}

void Pause(Call& call) {
  bool writes_only = false;
  if (call.size() > 4) return call.ArityError();
  if (call.size() == 4) {
    writes_only = call.Is(3, "write");
    if (!writes_only && !call.Is(3, "all")) {
      return call.reply().Error("ERR CLIENT PAUSE mode must be WRITE or ALL");
    }
  }
  int64_t timeout = 0;
  if (!call.Integer(2, &timeout, "ERR timeout is not an integer or out of range")) return;
  if (timeout < 0) return call.reply().Error("ERR timeout is negative");
  const int64_t now = Engine::MonotonicMs();
  if (timeout > std::numeric_limits<int64_t>::max() - now) {
    return call.reply().Error("ERR timeout is out of range");
  }
  call.engine().Pause(now + timeout, writes_only);
  call.reply().Ok();
}

void Unpause(Call& call) {
  call.engine().Unpause();
  call.reply().Ok();
}

void ReplyModeCommand(Call& call) {
  Session& session = call.session();
  if (call.Is(2, "on")) {
    session.reply_mode = ReplyMode::kOn;
    // Not into call.reply(), which may lead nowhere.
    Reply(&session.out, session.protocol).Ok();
  } else if (call.Is(2, "off")) {
    session.reply_mode = ReplyMode::kOff;
  } else if (call.Is(2, "skip")) {
    if (session.reply_mode != ReplyMode::kOff) session.reply_mode = ReplyMode::kSkipNext;
  } else {
    call.SyntaxError();
  }
}

void ReadSwitch(Call& call, bool* setting) {
  const bool on = call.Is(2, "on");
  if (!on && !call.Is(2, "off")) return call.SyntaxError();
  *setting = on;
  call.reply().Ok();
}

void Help(Call& call) {
  constexpr std::string_view kLines[] = {
      "CLIENT ID|INFO|LIST|GETNAME|SETNAME|SETINFO: connections and what is known of them.",
      "CLIENT KILL|UNBLOCK: act on another connection.",
      "CLIENT PAUSE|UNPAUSE: let all wait, or those that write.",
      "CLIENT REPLY|NO-EVICT|NO-TOUCH: settings of this connection.",
  };
  call.reply().Array(std::size(kLines));
  for (std::string_view line : kLines) call.reply().Simple(line);
}

constexpr Command kCommands[] = {
    {"client", -2, kContainer, 0, 0, 0, Group::kConnection, nullptr, "Connections"},
    {"client|id", 2, 0, 0, 0, 0, Group::kConnection, Id, "Number of this connection"},
    {"client|info", 2, 0, 0, 0, 0, Group::kConnection, Info, "Facts about this connection"},
    {"client|list", -2, kAdmin | kEveryone, 0, 0, 0, Group::kConnection, List, "All connections"},
    {"client|setname", 3, 0, 0, 0, 0, Group::kConnection, SetName, "Name this connection"},
    {"client|getname", 2, 0, 0, 0, 0, Group::kConnection, GetName, "Name of this connection"},
    {"client|setinfo", 4, 0, 0, 0, 0, Group::kConnection, SetInfo, "Say which library this is"},
    {"client|kill", -3, kAdmin | kEveryone, 0, 0, 0, Group::kConnection, Kill, "Close connections"},
    {"client|unblock", -3, kAdmin, 0, 0, 0, Group::kConnection, Unblock, "End another's waiting"},
    {"client|pause", -3, kAdmin, 0, 0, 0, Group::kConnection, Pause, "Let clients wait"},
    {"client|unpause", 2, kAdmin, 0, 0, 0, Group::kConnection, Unpause, "End a pause"},
    {"client|reply", 3, 0, 0, 0, 0, Group::kConnection, ReplyModeCommand, "Suppress replies"},
    {"client|no-evict", 3, kAdmin, 0, 0, 0, Group::kConnection,
     [](Call& call) { ReadSwitch(call, &call.session().no_evict); }, "Exempt from eviction"},
    {"client|no-touch", 3, kAdmin, 0, 0, 0, Group::kConnection,
     [](Call& call) { ReadSwitch(call, &call.session().no_touch); },
     "Read without counting as access"},
    {"client|help", 2, 0, 0, 0, 0, Group::kConnection, Help, "Help"},
};

}  // namespace

absl::Span<const Command> ClientCommands() { return kCommands; }

}  // namespace liveexec::demo
