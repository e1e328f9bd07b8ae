// Strings: GET, SET and their kin.
#include <algorithm>
#include <string>

#include "demo-server/commands/expire_time.h"
#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

constexpr std::string_view kTooLong =
    "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

// Makes `key` hold `value`, with no expiry unless `keep_ttl`.
Entry* Store(Call& call, std::string_view key, std::string_view value, bool keep_ttl = false) {
  Entry* entry = call.Find(key);
  if (entry == nullptr) {
    entry = call.Insert(key, Value(value));
  } else {
    if (!keep_ttl && entry->expires_at != kNoExpiry) {
      call.engine().keyspace().database(call.database()).SetExpiry(entry, kNoExpiry);
    }
    entry->value.Assign(value);
    entry->accessed_at = call.now();
  }
  call.Modified(key);
  return entry;
}

void SetExpiry(Call& call, Entry* entry, int64_t at) {
  call.engine().keyspace().database(call.database()).SetExpiry(entry, at);
}

void ReplyBytes(Call& call, const Bytes* bytes) {
  if (bytes == nullptr) {
    call.reply().Null();
  } else {
    call.reply().Bulk(*bytes);
  }
}

void Get(Call& call) {
  const Bytes* bytes;
  if (!call.Read(call[1], &bytes)) return;
  ReplyBytes(call, bytes);
}

void SetString(Call& call) {
  StringOptions options;
  if (call.size() > 3 && !ReadStringOptions(call, 3, /*set=*/true, &options)) return;
  int64_t expires_at = kNoExpiry;
  if (options.time_argument != 0 &&
      !ReadExpireTime(call, options.time_argument, options.unit, &expires_at)) {
    return;
  }
  if (options.get) {
    const Bytes* old;
    if (!call.Read(call[1], &old)) return;
    ReplyBytes(call, old);
  }
  if (options.only_if_absent || options.only_if_present) {
    const bool present = call.Find(call[1]) != nullptr;
    if (present ? options.only_if_absent : options.only_if_present) {
      if (!options.get) call.reply().Null();
      return;
    }
  }
  Entry* entry = Store(call, call[1], call[2], options.keep_ttl);
  if (expires_at != kNoExpiry) SetExpiry(call, entry, expires_at);
  if (!options.get) call.reply().Ok();
}

void SetIfAbsent(Call& call) {
  if (call.Find(call[1]) != nullptr) return call.reply().Integer(0);
  Store(call, call[1], call[2]);
  call.reply().Integer(1);
}

void SetWithExpiry(Call& call, bool seconds) {
  int64_t at = 0;
  if (!ReadExpireTime(call, 2, {.seconds = seconds, .absolute = false}, &at)) return;
  SetExpiry(call, Store(call, call[1], call[3]), at);
  call.reply().Ok();
}

void GetSet(Call& call) {
  const Bytes* old;
  if (!call.Read(call[1], &old)) return;
  ReplyBytes(call, old);
  Store(call, call[1], call[2]);
}

void GetDel(Call& call) {
  const Bytes* bytes;
  if (!call.Read(call[1], &bytes)) return;
  ReplyBytes(call, bytes);
  if (bytes != nullptr) call.Erase(call[1]);
}

void GetEx(Call& call) {
  StringOptions options;
  if (!ReadStringOptions(call, 2, /*set=*/false, &options)) return;
  const Bytes* bytes;
  if (!call.Read(call[1], &bytes)) return;
  if (bytes == nullptr) return call.reply().Null();
  int64_t expires_at = kNoExpiry;
  if (options.time_argument != 0 &&
      !ReadExpireTime(call, options.time_argument, options.unit, &expires_at)) {
    return;
  }
  call.reply().Bulk(*bytes);
  Entry* entry = call.Find(call[1]);
  if (expires_at != kNoExpiry && expires_at <= call.now()) {
    call.Erase(call[1]);
  } else if (expires_at != kNoExpiry || (options.persist && entry->expires_at != kNoExpiry)) {
    SetExpiry(call, entry, expires_at);
    call.Modified(call[1]);
  }
}

void MGet(Call& call) {
  call.reply().Array(call.size() - 1);
  for (size_t i = 1; i < call.size(); ++i) {
    Entry* entry = call.Read(call[i]);
    ReplyBytes(call, entry == nullptr ? nullptr : entry->value.As<Bytes>());
  }
}

void StorePairs(Call& call) {
  for (size_t i = 1; i + 1 < call.size(); i += 2) Store(call, call[i], call[i + 1]);
}

void MSet(Call& call) {
  if (call.size() % 2 == 0) return call.ArityError();
  StorePairs(call);
  call.reply().Ok();
}

void MSetNx(Call& call) {
  if (call.size() % 2 == 0) return call.ArityError();
  for (size_t i = 1; i < call.size(); i += 2) {
    if (call.Find(call[i]) != nullptr) return call.reply().Integer(0);
  }
  StorePairs(call);
  call.reply().Integer(1);
}

void Append(Call& call) {
  Bytes* bytes;
  if (!call.Find(call[1], &bytes)) return;
  if (bytes == nullptr) {
    bytes = call.Insert(call[1], Value(call[2]))->value.As<Bytes>();
  } else {
    if (bytes->size() + call[2].size() > static_cast<size_t>(RespParser::kMaxBulk)) {
      return call.reply().Error(kTooLong);
    }
    bytes->append(call[2]);
    call.Find(call[1])->value.MarkEdited();
  }
  call.Modified(call[1]);
  call.reply().Integer(static_cast<int64_t>(bytes->size()));
}

void Strlen(Call& call) {
  const Bytes* bytes;
  if (!call.Read(call[1], &bytes)) return;
  call.reply().Integer(bytes == nullptr ? 0 : static_cast<int64_t>(bytes->size()));
}

void GetRange(Call& call) {
  int64_t start = 0;
  int64_t end = 0;
  if (!call.Integer(2, &start) || !call.Integer(3, &end)) return;
  const Bytes* bytes;
  if (!call.Read(call[1], &bytes)) return;
  const int64_t size = bytes == nullptr ? 0 : static_cast<int64_t>(bytes->size());
  if (start < 0 && end < 0 && start > end) return call.reply().Bulk("");
  if (start < 0) start = std::max<int64_t>(start + size, 0);
  if (end < 0) end = std::max<int64_t>(end + size, 0);
  end = std::min(end, size - 1);
  if (start > end || size == 0) return call.reply().Bulk("");
  call.reply().Bulk(std::string_view(*bytes).substr(static_cast<size_t>(start),
                                                    static_cast<size_t>(end - start + 1)));
}

void SetRange(Call& call) {
  int64_t offset = 0;
  if (!call.Integer(2, &offset)) return;
  if (offset < 0) return call.reply().Error("ERR offset is out of range");
  const std::string_view piece = call[3];
  Bytes* bytes;
  if (!call.Find(call[1], &bytes)) return;
  if (piece.empty()) {
    return call.reply().Integer(bytes == nullptr ? 0 : static_cast<int64_t>(bytes->size()));
  }
  if (offset > RespParser::kMaxBulk - static_cast<int64_t>(piece.size())) {
    return call.reply().Error(kTooLong);
  }
  if (!call.FindOrCreate(call[1], &bytes)) return;
  const size_t at = static_cast<size_t>(offset);
  if (bytes->size() < at + piece.size()) bytes->resize(at + piece.size());
  bytes->replace(at, piece.size(), piece.data(), piece.size());
  call.Find(call[1])->value.MarkEdited();
  call.Modified(call[1]);
  call.reply().Integer(static_cast<int64_t>(bytes->size()));
}

constexpr Command kCommands[] = {
    {"get", 2, kReadOnly | kFast, 1, 1, 1, Group::kString, Get, "Get a string"},
    {"set", -3, kWrite | kDenyOom, 1, 1, 1, Group::kString, SetString, "Set a string"},
    {"setnx", 3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kString, SetIfAbsent,
     "Set a string unless the key exists"},
    {"setex", 4, kWrite | kDenyOom, 1, 1, 1, Group::kString,
     [](Call& call) { SetWithExpiry(call, true); }, "Set a string and its time to live in s"},
    {"psetex", 4, kWrite | kDenyOom, 1, 1, 1, Group::kString,
     [](Call& call) { SetWithExpiry(call, false); }, "Set a string and its time to live in ms"},
    {"getset", 3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kString, GetSet,
     "Set a string and return the old one"},
    {"getdel", 2, kWrite | kFast, 1, 1, 1, Group::kString, GetDel, "Get a string and delete it"},
    {"getex", -2, kWrite | kFast, 1, 1, 1, Group::kString, GetEx,
     "Get a string and change its expiry"},
    {"mget", -2, kReadOnly | kFast, 1, -1, 1, Group::kString, MGet, "Get several strings"},
    {"mset", -3, kWrite | kDenyOom, 1, -1, 2, Group::kString, MSet, "Set several strings"},
    {"msetnx", -3, kWrite | kDenyOom, 1, -1, 2, Group::kString, MSetNx,
     "Set several strings unless one of the keys exists"},
    {"append", 3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kString, Append, "Append to a string"},
    {"strlen", 2, kReadOnly | kFast, 1, 1, 1, Group::kString, Strlen, "Length of a string"},
    {"getrange", 4, kReadOnly, 1, 1, 1, Group::kString, GetRange, "Part of a string"},
    {"substr", 4, kReadOnly, 1, 1, 1, Group::kString, GetRange, "Part of a string"},
    {"setrange", 4, kWrite | kDenyOom, 1, 1, 1, Group::kString, SetRange,
     "Overwrite part of a string"},
};

}  // namespace

absl::Span<const Command> StringCommands() { return kCommands; }

}  // namespace liveexec::demo
