// The connection itself: PING, HELLO, SELECT, QUIT and so on.
#include "demo-server/commands/connection.h"

#include <sys/time.h>

#include <cctype>
#include <string>

#include "demo-server/commands/families.h"
#include "demo-server/commands/transactions.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {

bool ValidClientName(std::string_view name) {
  for (char c : name) {
    if (c < '!' || c > '~') return false;
  }
  return true;
}

namespace {

void Ping(Call& call) {
  if (call.size() > 2) return call.ArityError();
  const bool subscriber = call.session().protocol == 2 && call.session().subscriptions() > 0;
  if (subscriber) {
    call.reply().Array(2);
    call.reply().Bulk("pong");
    call.reply().Bulk(call.size() == 2 ? call[1] : std::string_view());
  } else if (call.size() == 2) {
    call.reply().Bulk(call[1]);
  } else {
    call.reply().Simple("PONG");
  }
}

void Echo(Call& call) { call.reply().Bulk(call[1]); }

void Quit(Call& call) {
  call.reply().Ok();
  call.session().close_after_output = true;
}

void Select(Call& call) {
  int64_t index = 0;
  if (!call.Integer(1, &index)) return;
  if (index < 0 || index >= Keyspace::kDatabases) {
    return call.reply().Error("ERR DB index is out of range");
  }
  call.session().database = static_cast<int>(index);
  call.reply().Ok();
}

constexpr std::string_view kWrongPassword =
    "WRONGPASS invalid username-password pair or user is disabled.";

void LogIn(Session& session) {
  session.authenticated = true;
  session.parser.set_stranger(false);
}

void Auth(Call& call) {
  if (call.size() > 3) return call.SyntaxError();
  if (call.size() == 2 && !call.engine().needs_password()) {
    return call.reply().Error(
        "ERR AUTH <password> called without any password configured for the default user. Are you "
        "sure your configuration is correct?");
  }
  // There is one user; without requirepass, any password is its password.
  const bool known = call.size() == 2 || call[1] == "default";
  if (!known || !call.engine().IsPassword(call[call.size() - 1])) {
    return call.reply().Error(kWrongPassword);
  }
  LogIn(call.session());
  call.reply().Ok();
}

// The options of HELLO, which take effect one by one; false after an error reply.
bool ReadHelloOptions(Call& call) {
  for (size_t i = 2; i < call.size(); ++i) {
    const size_t left = call.size() - i - 1;
    if (call.Is(i, "auth") && left >= 2) {
      if (call[i + 1] != "default" || !call.engine().IsPassword(call[i + 2])) {
        call.reply().Error(kWrongPassword);
        return false;
      }
      LogIn(call.session());
      i += 2;
    } else if (call.Is(i, "setname") && left >= 1) {
      if (!ValidClientName(call[++i])) {
        call.reply().Error(kBadClientName);
        return false;
      }
      call.session().name = std::string(call[i]);
    } else {
      call.reply().Error("ERR Syntax error in HELLO option '" + std::string(call[i]) + "'");
      return false;
    }
  }
  return true;
}

void Hello(Call& call) {
  int64_t version = call.session().protocol;
  if (call.size() > 1) {
    if (!call.Integer(1, &version, "ERR Protocol version is not an integer or out of range")) {
      return;
    }
    if (version < 2 || version > 3) {
      return call.reply().Error("NOPROTO unsupported protocol version");
    }
  }
  if (!ReadHelloOptions(call)) return;
  if (!call.session().authenticated) {
    return call.reply().Error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
        "RESP protocol version at the same time");
  }
  call.session().protocol = static_cast<int>(version);
  Reply& reply = call.reply();
  reply.set_protocol(call.session().protocol);
  reply.Map(7);
  reply.Bulk("server");
  reply.Bulk("redis");
  reply.Bulk("version");
  reply.Bulk(kRedisVersion);
  reply.Bulk("proto");
  reply.Integer(version);
  reply.Bulk("id");
  reply.Integer(static_cast<int64_t>(call.session().id));
  reply.Bulk("mode");
  reply.Bulk("standalone");
  reply.Bulk("role");
  reply.Bulk("master");
  reply.Bulk("modules");
  reply.Array(0);
}

void Reset(Call& call) {
  Session& session = call.session();
  DropTransaction(call.engine(), session);
  call.engine().pubsub().Forget(session);
  call.engine().tracking().Stop(session);
  session.monitor = false;
  session.database = 0;
  session.name.clear();
  session.reply_mode = ReplyMode::kOn;
  session.no_evict = false;
  session.no_touch = false;
  session.authenticated = !call.engine().needs_password();
  session.protocol = 2;
  call.reply().set_protocol(2);
  call.reply().Simple("RESET");
}

void Time(Call& call) {
  timeval time;
  gettimeofday(&time, nullptr);
  call.reply().Array(2);
  call.reply().BulkInteger(time.tv_sec);
  call.reply().BulkInteger(time.tv_usec);
}

constexpr Command kCommands[] = {
    {"ping", -1, kFast | kSubscriber, 0, 0, 0, Group::kConnection, Ping, "Ask for a PONG"},
    {"echo", 2, kFast, 0, 0, 0, Group::kConnection, Echo, "Get the argument back"},
    {"quit", -1, kNoAuth | kFast | kSubscriber | kNotQueued, 0, 0, 0, Group::kConnection, Quit,
     "Close the connection"},
    {"select", 2, kFast, 0, 0, 0, Group::kConnection, Select, "Change the database"},
    {"auth", -2, kNoAuth | kFast, 0, 0, 0, Group::kConnection, Auth, "Authenticate"},
    {"hello", -1, kNoAuth | kFast, 0, 0, 0, Group::kConnection, Hello,
     "Choose the protocol version"},
    {"reset", 1, kNoAuth | kFast | kSubscriber | kNotQueued, 0, 0, 0, Group::kConnection, Reset,
     "Make the connection as new"},
    {"time", 1, kFast, 0, 0, 0, Group::kServer, Time, "The server's time"},
};

}  // namespace

absl::Span<const Command> ConnectionCommands() { return kCommands; }

}  // namespace liveexec::demo
