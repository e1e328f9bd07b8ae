// Keys, whatever they hold.
#include <new>
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"
#include "demo-server/protocol/glob.h"

namespace liveexec::demo {
namespace {

void Del(Call& call) {
  int64_t erased = 0;
  for (size_t i = 1; i < call.size(); ++i) erased += call.Erase(call[i]) ? 1 : 0;
  call.reply().Integer(erased);
}

void Exists(Call& call) {
  int64_t found = 0;
  for (size_t i = 1; i < call.size(); ++i) found += call.Read(call[i]) != nullptr ? 1 : 0;
  call.reply().Integer(found);
}

void Touch(Call& call) { Exists(call); }

void TypeOfKey(Call& call) {
  const Entry* entry = call.Find(call[1]);
  call.reply().Simple(entry == nullptr ? "none" : TypeName(entry->value.type()));
}

void Keys(Call& call) {
  const Database& database = call.engine().keyspace().database(call.database());
  std::vector<std::string_view> found;
  database.ForEachKey([&](std::string_view key, int64_t expires_at) {
    if (expires_at != kNoExpiry && expires_at <= call.now()) return;
    if (call[1] == "*" || GlobMatch(call[1], key)) found.push_back(key);
  });
  call.reply().Array(found.size());
  for (std::string_view key : found) call.reply().Bulk(key);
}

void RandomKey(Call& call) {
  Database& database = call.engine().keyspace().database(call.database());
  // An expired one is erased by the look, so this ends; or it is not, as writes are paused.
  constexpr int kMostTries = 100;
  for (int tries = 0;; ++tries) {
    const Entry* entry = database.RandomEntry([&] { return call.engine().random(); });
    if (entry == nullptr) break;
    const std::string key(entry->key());
    if (call.Find(key) != nullptr || (tries >= kMostTries && !call.engine().may_expire()))
      return call.reply().Bulk(key);
  }
  call.reply().Null();
}

// Moves the entry to another name or database, which must be free.
void MoveEntry(Call& call, Entry* entry, int database, std::string_view key) {
  Entry* moved = call.engine().Insert(database, key, Value(std::string_view{}));
  try {
    call.engine().keyspace().database(database).SetExpiry(moved, entry->expires_at);
  } catch (const std::bad_alloc&) {
    call.engine().Erase(database, moved);
    throw;
  }
  // From here on nothing can fail.
  moved->value = std::move(entry->value);
  moved->accesses = entry->accesses;
  call.engine().Erase(call.database(), entry);
}

void Rename(Call& call, bool only_if_absent) {
  Entry* entry = call.Find(call[1]);
  if (entry == nullptr) return call.reply().Error(kNoSuchKey);
  if (call[1] == call[2]) {
    if (only_if_absent) return call.reply().Integer(0);
    return call.reply().Ok();
  }
  if (Entry* target = call.Find(call[2]); target != nullptr) {
    if (only_if_absent) return call.reply().Integer(0);
    call.engine().Erase(call.database(), target);
  }
  MoveEntry(call, entry, call.database(), call[2]);
  call.Modified(call[1]);
  call.Modified(call[2]);
  if (only_if_absent) return call.reply().Integer(1);
  call.reply().Ok();
}

// A database's number. False after an error reply.
bool ReadDatabase(Call& call, size_t i, int* database) {
  int64_t number = 0;
  if (!call.Integer(i, &number)) return false;
  if (number < 0 || number >= Keyspace::kDatabases) {
    call.reply().Error("ERR DB index is out of range");
    return false;
  }
  *database = static_cast<int>(number);
  return true;
}

void Move(Call& call) {
  int database = 0;
  if (!ReadDatabase(call, 2, &database)) return;
  if (database == call.database()) {
    return call.reply().Error("ERR source and destination objects are the same");
  }
  Entry* entry = call.Find(call[1]);
  if (entry == nullptr || call.engine().Find(database, call[1]) != nullptr) {
    return call.reply().Integer(0);
  }
  MoveEntry(call, entry, database, call[1]);
  call.Modified(call[1]);
  call.engine().Modified(database, call[1]);
  call.reply().Integer(1);
}

void Copy(Call& call) {
  int database = call.database();
  bool replace = false;
  for (size_t i = 3; i < call.size(); ++i) {
    if (call.Is(i, "replace")) {
      replace = true;
    } else if (call.Is(i, "db") && i + 1 < call.size()) {
      if (!ReadDatabase(call, ++i, &database)) return;
    } else {
      return call.SyntaxError();
    }
  }
  if (database == call.database() && call[1] == call[2]) {
    return call.reply().Error("ERR source and destination objects are the same");
  }
  Entry* entry = call.Read(call[1]);
  if (entry == nullptr) return call.reply().Integer(0);
  if (Entry* target = call.engine().Find(database, call[2]); target != nullptr) {
    if (!replace) return call.reply().Integer(0);
    call.engine().Erase(database, target);
  }
  Entry* copy = call.engine().Insert(database, call[2], entry->value.Copy(call.seed()));
  call.engine().keyspace().database(database).SetExpiry(copy, entry->expires_at);
  call.engine().Modified(database, call[2]);
  call.reply().Integer(1);
}

void DbSize(Call& call) {
  call.reply().Integer(
      static_cast<int64_t>(call.engine().keyspace().database(call.database()).size()));
}

void FlushOne(Call& call, int database) {
  Database& data = call.engine().keyspace().database(database);
  call.engine().watches().TouchAll(database, data, nullptr);
  call.engine().statistics().changes += data.size();
  data.Clear();
}

bool ReadFlushOptions(Call& call) {
  if (call.size() == 1 || (call.size() == 2 && (call.Is(1, "sync") || call.Is(1, "async")))) {
    return true;
  }
  call.SyntaxError();
  return false;
}

void FlushDb(Call& call) {
  if (!ReadFlushOptions(call)) return;
  FlushOne(call, call.database());
  call.engine().tracking().Flush(&call.session());
  call.reply().Ok();
}

void FlushAll(Call& call) {
  if (!ReadFlushOptions(call)) return;
  for (int database = 0; database < Keyspace::kDatabases; ++database) FlushOne(call, database);
  call.engine().tracking().Flush(&call.session());
  call.reply().Ok();
}

void SwapDb(Call& call) {
  int64_t first = 0;
  int64_t second = 0;
  if (!call.Integer(1, &first, "ERR invalid first DB index")) return;
  if (!call.Integer(2, &second, "ERR invalid second DB index")) return;
  constexpr int64_t kEnd = Keyspace::kDatabases;
  if (first < 0 || first >= kEnd || second < 0 || second >= kEnd) {
    return call.reply().Error("ERR DB index is out of range");
  }
  Engine& engine = call.engine();
  const int a = static_cast<int>(first);
  const int b = static_cast<int>(second);
  if (a != b) {
    // A key that has expired is no key: it must not be taken for a change.
    for (const std::string& key : engine.watches().KeysIn(a)) engine.Find(b, key);
    for (const std::string& key : engine.watches().KeysIn(b)) engine.Find(a, key);
    const Database& data_a = engine.keyspace().database(a);
    const Database& data_b = engine.keyspace().database(b);
    engine.watches().TouchAll(a, data_a, &data_b);
    engine.watches().TouchAll(b, data_b, &data_a);
    engine.keyspace().Swap(a, b);
    engine.blocked().SignalAll(a);
    engine.blocked().SignalAll(b);
    ++engine.statistics().changes;
  }
  call.reply().Ok();
}

// ---- OBJECT

Entry* ObjectEntry(Call& call) {
  Entry* entry = call.Find(call[2]);
  if (entry == nullptr) call.reply().Null();
  return entry;
}

void ObjectEncoding(Call& call) {
  if (const Entry* entry = ObjectEntry(call); entry != nullptr) {
    call.reply().Bulk(entry->value.Encoding());
  }
}

void ObjectRefCount(Call& call) {
  if (ObjectEntry(call) != nullptr) call.reply().Integer(1);
}

bool CountsAccesses(Call& call) {
  return call.engine().config().Get("maxmemory-policy").find("lfu") != std::string::npos;
}

void ObjectIdleTime(Call& call) {
  const Entry* entry = ObjectEntry(call);
  if (entry == nullptr) return;
  if (CountsAccesses(call)) {
    return call.reply().Error(
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
        "switching between policies at runtime LRU and LFU data will take some time to adjust.");
  }
  call.reply().Integer((call.now() - entry->accessed_at) / 1000);
}

void ObjectFreq(Call& call) {
  const Entry* entry = ObjectEntry(call);
  if (entry == nullptr) return;
  if (!call.engine().options().access_statistics && !CountsAccesses(call)) {
    return call.reply().Error(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
        "that when switching between policies at runtime LRU and LFU data will take some time to "
        "adjust.");
  }
  call.reply().Integer(entry->accesses);
}

void ObjectHelp(Call& call) {
  constexpr std::string_view kLines[] = {
      "OBJECT ENCODING|FREQ|IDLETIME|REFCOUNT <key>: what is known of the value of a key."};
  call.reply().Array(std::size(kLines));
  for (std::string_view line : kLines) call.reply().Simple(line);
}

constexpr Command kCommands[] = {
    {"del", -2, kWrite, 1, -1, 1, Group::kGeneric, Del, "Delete keys"},
    {"unlink", -2, kWrite | kFast, 1, -1, 1, Group::kGeneric, Del, "Delete keys"},
    {"exists", -2, kReadOnly | kFast, 1, -1, 1, Group::kGeneric, Exists, "Count keys that exist"},
    {"touch", -2, kReadOnly | kFast, 1, -1, 1, Group::kGeneric, Touch, "Mark keys as used"},
    {"type", 2, kReadOnly | kFast, 1, 1, 1, Group::kGeneric, TypeOfKey, "Type of a value"},
    {"keys", 2, kReadOnly, 0, 0, 0, Group::kGeneric, Keys, "Keys that match a pattern"},
    {"randomkey", 1, kReadOnly, 0, 0, 0, Group::kGeneric, RandomKey, "Some key"},
    {"rename", 3, kWrite, 1, 2, 1, Group::kGeneric, [](Call& call) { Rename(call, false); },
     "Rename a key"},
    {"renamenx", 3, kWrite | kFast, 1, 2, 1, Group::kGeneric,
     [](Call& call) { Rename(call, true); }, "Rename a key unless the new name exists"},
    {"move", 3, kWrite | kFast, 1, 1, 1, Group::kGeneric, Move, "Move a key to another database"},
    {"copy", -3, kWrite | kDenyOom, 1, 2, 1, Group::kGeneric, Copy, "Copy a key"},
    {"dbsize", 1, kReadOnly | kFast, 0, 0, 0, Group::kServer, DbSize, "Number of keys"},
    {"flushdb", -1, kWrite, 0, 0, 0, Group::kServer, FlushDb, "Delete all keys of the database"},
    {"flushall", -1, kWrite, 0, 0, 0, Group::kServer, FlushAll, "Delete all keys"},
    {"swapdb", 3, kWrite | kFast, 0, 0, 0, Group::kServer, SwapDb, "Swap two databases"},
    {"object", -2, kContainer, 0, 0, 0, Group::kGeneric, nullptr, "Facts about values"},
    {"object|encoding", 3, kReadOnly, 2, 2, 1, Group::kGeneric, ObjectEncoding,
     "Internal encoding"},
    {"object|freq", 3, kReadOnly, 2, 2, 1, Group::kGeneric, ObjectFreq, "Number of accesses"},
    {"object|idletime", 3, kReadOnly, 2, 2, 1, Group::kGeneric, ObjectIdleTime,
     "Seconds since the last access"},
    {"object|refcount", 3, kReadOnly, 2, 2, 1, Group::kGeneric, ObjectRefCount, "References"},
    {"object|help", 2, 0, 0, 0, 0, Group::kGeneric, ObjectHelp, "Help"},
};

}  // namespace

absl::Span<const Command> KeyCommands() { return kCommands; }

}  // namespace liveexec::demo
