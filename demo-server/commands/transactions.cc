#include "demo-server/commands/transactions.h"

#include <new>
#include <string>
#include <utility>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {

void DropTransaction(Engine& engine, Session& session) {
  engine.watches().Unwatch(session);
  session.transaction = Transaction();
}

namespace {

void Multi(Call& call) {
  if (call.session().transaction.open) {
    return call.reply().Error("ERR MULTI calls can not be nested");
  }
  call.session().transaction.open = true;
  call.reply().Ok();
}

void Discard(Call& call) {
  if (!call.session().transaction.open) {
    return call.reply().Error("ERR DISCARD without MULTI");
  }
  DropTransaction(call.engine(), call.session());
  call.reply().Ok();
}

void Watch(Call& call) {
  if (call.session().transaction.open) {
    return call.reply().Error("ERR WATCH inside MULTI is not allowed");
  }
  for (size_t i = 1; i < call.size(); ++i) {
    // An expired key is erased now, so that its removal later is not taken for a change.
    call.Find(call[i]);
    call.engine().watches().Watch(call.session(), call.database(), call[i]);
  }
  call.reply().Ok();
}

void Unwatch(Call& call) {
  call.engine().watches().Unwatch(call.session());
  call.reply().Ok();
}

void Exec(Call& call) {
  Session& session = call.session();
  Engine& engine = call.engine();
  if (!session.transaction.open) return call.reply().Error("ERR EXEC without MULTI");
  // A watched key that has expired counts as modified: looking for it touches it.
  const std::vector<KeyName> watched = session.transaction.watched;
  try {
    for (const KeyName& name : watched) engine.Find(name.database, name.key);
  } catch (const std::bad_alloc&) {
    DropTransaction(engine, session);
    return call.reply().Error("EXECABORT Transaction discarded because of: there is no memory.");
  }
  const bool refused = session.transaction.refused;
  const bool outdated = session.transaction.outdated;
  const std::vector<std::vector<std::string>> commands = std::move(session.transaction.commands);
  DropTransaction(engine, session);
  if (refused) {
    return call.reply().Error("EXECABORT Transaction discarded because of previous errors.");
  }
  if (outdated) return call.reply().NullArray();
  call.reply().Array(commands.size());
  for (const std::vector<std::string>& words : commands) {
    const std::vector<std::string_view> arguments(words.begin(), words.end());
    // Known when it was queued, by this program or an older one.
    const Command* command = engine.Resolve(arguments, call.reply());
    if (command == nullptr) continue;
    engine.Run(session, *command, arguments, call.reply(), /*in_transaction=*/true);
  }
}

constexpr Command kCommands[] = {
    {"multi", 1, kFast | kNotQueued, 0, 0, 0, Group::kTransactions, Multi, "Start a transaction"},
    {"exec", 1, kNotQueued, 0, 0, 0, Group::kTransactions, Exec, "Run a transaction"},
    {"discard", 1, kFast | kNotQueued, 0, 0, 0, Group::kTransactions, Discard,
     "Drop a transaction"},
    {"watch", -2, kFast | kNotQueued, 1, -1, 1, Group::kTransactions, Watch,
     "Make the next transaction depend on keys"},
    {"unwatch", 1, kFast, 0, 0, 0, Group::kTransactions, Unwatch, "Forget watched keys"},
};

}  // namespace

absl::Span<const Command> TransactionCommands() { return kCommands; }

}  // namespace liveexec::demo
