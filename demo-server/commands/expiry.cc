// Expiry of keys.
#include <limits>
#include <string>

#include "demo-server/commands/expire_time.h"
#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

struct Conditions {
  bool without = false;  // NX: only a key without expiry
  bool with = false;     // XX
  bool later = false;    // GT; no expiry counts as the latest
  bool earlier = false;  // LT
};

bool ReadConditions(Call& call, Conditions* conditions) {
  for (size_t i = 3; i < call.size(); ++i) {
    if (call.Is(i, "nx")) {
      conditions->without = true;
    } else if (call.Is(i, "xx")) {
      conditions->with = true;
    } else if (call.Is(i, "gt")) {
      conditions->later = true;
    } else if (call.Is(i, "lt")) {
      conditions->earlier = true;
    } else {
      call.reply().Error("ERR Unsupported option " + std::string(call[i]));
      return false;
    }
  }
  if (conditions->without && (conditions->with || conditions->later || conditions->earlier)) {
    call.reply().Error("ERR NX and XX, GT or LT options at the same time are not compatible");
    return false;
  }
  if (conditions->later && conditions->earlier) {
    call.reply().Error("ERR GT and LT options at the same time are not compatible");
    return false;
  }
  return true;
}

bool Allowed(const Conditions& conditions, int64_t old_at, int64_t at) {
  const bool has_expiry = old_at != kNoExpiry;
  if (conditions.without && has_expiry) return false;
  if (conditions.with && !has_expiry) return false;
  if (conditions.later && (!has_expiry || at <= old_at)) return false;
  if (conditions.earlier && has_expiry && at >= old_at) return false;
  return true;
}

// Argument 2 as Unix time in ms: unlike in SET it may be negative, for the past.
bool ReadTime(Call& call, TimeUnit unit, int64_t* at) {
  int64_t value = 0;
  if (!call.Integer(2, &value)) return false;
  bool overflow = unit.seconds && __builtin_mul_overflow(value, 1000, &value);
  overflow = overflow || (!unit.absolute && __builtin_add_overflow(value, call.now(), &value));
  if (overflow) {
    std::string text = "ERR invalid expire time in '";
    text.append(call.command().name).append("' command");
    call.reply().Error(text);
    return false;
  }
  *at = value;
  return true;
}

void Expire(Call& call, TimeUnit unit) {
  int64_t at = 0;
  Conditions conditions;
  if (!ReadConditions(call, &conditions) || !ReadTime(call, unit, &at)) return;
  Entry* entry = call.Find(call[1]);
  if (entry == nullptr || !Allowed(conditions, entry->expires_at, at)) {
    return call.reply().Integer(0);
  }
  if (at <= call.now()) {
    call.Erase(call[1]);
  } else {
    call.engine().keyspace().database(call.database()).SetExpiry(entry, at);
    call.Modified(call[1]);
  }
  call.reply().Integer(1);
}

// TTL and the like: -2 without key, -1 without expiry.
void Remaining(Call& call, TimeUnit unit) {
  const Entry* entry = call.Find(call[1]);
  if (entry == nullptr) return call.reply().Integer(-2);
  if (entry->expires_at == kNoExpiry) return call.reply().Integer(-1);
  const int64_t ms = unit.absolute ? entry->expires_at : entry->expires_at - call.now();
  call.reply().Integer(unit.seconds ? (ms + 500) / 1000 : ms);
}

void Persist(Call& call) {
  Entry* entry = call.Find(call[1]);
  if (entry == nullptr || entry->expires_at == kNoExpiry) return call.reply().Integer(0);
  call.engine().keyspace().database(call.database()).SetExpiry(entry, kNoExpiry);
  call.Modified(call[1]);
  call.reply().Integer(1);
}

constexpr TimeUnit kSeconds = {.seconds = true, .absolute = false};
constexpr TimeUnit kMillis = {.seconds = false, .absolute = false};
constexpr TimeUnit kUnixSeconds = {.seconds = true, .absolute = true};
constexpr TimeUnit kUnixMillis = {.seconds = false, .absolute = true};

constexpr Command kCommands[] = {
    {"expire", -3, kWrite | kFast, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Expire(call, kSeconds); }, "Set the time to live in s"},
    {"pexpire", -3, kWrite | kFast, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Expire(call, kMillis); }, "Set the time to live in ms"},
    {"expireat", -3, kWrite | kFast, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Expire(call, kUnixSeconds); }, "Set the expiry as Unix time in s"},
    {"pexpireat", -3, kWrite | kFast, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Expire(call, kUnixMillis); }, "Set the expiry as Unix time in ms"},
    {"ttl", 2, kReadOnly | kFast, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Remaining(call, kSeconds); }, "Time to live in s"},
    {"pttl", 2, kReadOnly | kFast, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Remaining(call, kMillis); }, "Time to live in ms"},
    {"expiretime", 2, kReadOnly | kFast, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Remaining(call, kUnixSeconds); }, "Expiry as Unix time in s"},
    {"pexpiretime", 2, kReadOnly | kFast, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Remaining(call, kUnixMillis); }, "Expiry as Unix time in ms"},
    {"persist", 2, kWrite | kFast, 1, 1, 1, Group::kGeneric, Persist, "Remove the expiry"},
};

}  // namespace

absl::Span<const Command> ExpiryCommands() { return kCommands; }

}  // namespace liveexec::demo
