// Hashes.
#include <cmath>
#include <string>

#include "demo-server/commands/families.h"
#include "demo-server/commands/random_picks.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

void SetFields(Call& call, bool old_reply) {
  if (call.size() % 2 != 0) return call.ArityError();
  Hash* hash;
  if (!call.FindOrCreate(call[1], &hash)) return;
  int64_t added = 0;
  for (size_t i = 2; i + 1 < call.size(); i += 2) added += hash->Set(call[i], call[i + 1]) ? 1 : 0;
  call.Modified(call[1]);
  if (old_reply) return call.reply().Ok();
  call.reply().Integer(added);
}

void Hsetnx(Call& call) {
  Hash* hash;
  if (!call.FindOrCreate(call[1], &hash)) return;
  if (hash->Find(call[2]) != nullptr) return call.reply().Integer(0);
  hash->Set(call[2], call[3]);
  call.Modified(call[1]);
  call.reply().Integer(1);
}

void ReplyField(Call& call, const Hash* hash, std::string_view name) {
  const Bytes* value = hash == nullptr ? nullptr : hash->Get(name);
  if (value == nullptr) {
    call.reply().Null();
  } else {
    call.reply().Bulk(*value);
  }
}

void Hget(Call& call) {
  const Hash* hash;
  if (call.Read(call[1], &hash)) ReplyField(call, hash, call[2]);
}

void Hmget(Call& call) {
  const Hash* hash;
  if (!call.Read(call[1], &hash)) return;
  call.reply().Array(call.size() - 2);
  for (size_t i = 2; i < call.size(); ++i) ReplyField(call, hash, call[i]);
}

void Hdel(Call& call) {
  Hash* hash;
  if (!call.Find(call[1], &hash)) return;
  if (hash == nullptr) return call.reply().Integer(0);
  int64_t erased = 0;
  for (size_t i = 2; i < call.size(); ++i) erased += hash->Erase(call[i]) ? 1 : 0;
  if (erased > 0) {
    call.Modified(call[1]);
    call.EraseIfEmpty(call[1]);
  }
  call.reply().Integer(erased);
}

void Hlen(Call& call) {
  const Hash* hash;
  if (!call.Read(call[1], &hash)) return;
  call.reply().Integer(hash == nullptr ? 0 : static_cast<int64_t>(hash->size()));
}

void Hstrlen(Call& call) {
  const Hash* hash;
  if (!call.Read(call[1], &hash)) return;
  const Bytes* value = hash == nullptr ? nullptr : hash->Get(call[2]);
  call.reply().Integer(value == nullptr ? 0 : static_cast<int64_t>(value->size()));
}

void Hexists(Call& call) {
  const Hash* hash;
  if (!call.Read(call[1], &hash)) return;
  call.reply().Integer(hash != nullptr && hash->Get(call[2]) != nullptr ? 1 : 0);
}

void ListFields(Call& call, bool names, bool values) {
  const Hash* hash;
  if (!call.Read(call[1], &hash)) return;
  const size_t size = hash == nullptr ? 0 : hash->size();
  if (names && values) {
    call.reply().Map(size);
  } else {
    call.reply().Array(size);
  }
  if (hash == nullptr) return;
  for (const Field* field : hash->fields().nodes()) {
    if (names) call.reply().Bulk(field->key());
    if (values) call.reply().Bulk(field->value);
  }
}

void Hincrby(Call& call) {
  int64_t increment = 0;
  if (!call.Integer(3, &increment)) return;
  Hash* hash;
  if (!call.FindOrCreate(call[1], &hash)) return;
  const Bytes* old = hash->Get(call[2]);
  int64_t value = 0;
  if (old != nullptr && !ParseInteger(*old, &value)) {
    return call.reply().Error("ERR hash value is not an integer");
  }
  if (__builtin_add_overflow(value, increment, &value)) {
    return call.reply().Error("ERR increment or decrement would overflow");
  }
  hash->Set(call[2], FormatInteger(value));
  call.Modified(call[1]);
  call.reply().Integer(value);
}

void Hincrbyfloat(Call& call) {
  long double increment = 0;
  if (!ParseLongDouble(call[3], &increment)) return call.reply().Error(kNotFloat);
  if (std::isinf(increment)) return call.reply().Error("ERR value is NaN or Infinity");
  Hash* hash;
  if (!call.FindOrCreate(call[1], &hash)) return;
  const Bytes* old = hash->Get(call[2]);
  long double value = 0;
  if (old != nullptr && !ParseLongDouble(*old, &value)) {
    return call.reply().Error("ERR hash value is not a float");
  }
  value += increment;
  if (std::isnan(value) || std::isinf(value)) {
    return call.reply().Error("ERR increment would produce NaN or Infinity");
  }
  const std::string text = FormatLongDouble(value);
  hash->Set(call[2], text);
  call.Modified(call[1]);
  call.reply().Bulk(text);
}

void Hrandfield(Call& call) {
  RandomRequest request;
  if (!ReadRandomRequest(call, "withvalues", &request)) return;
  const Hash* hash;
  if (!call.Read(call[1], &hash)) return;
  if (hash == nullptr) return request.counted ? call.reply().Array(0) : call.reply().Null();
  const auto& fields = hash->fields().nodes();
  if (!request.counted) {
    return call.reply().Bulk(fields[call.engine().random() % fields.size()]->key());
  }
  const auto picks = PickRandom(call.engine(), fields.size(), request.count);
  const bool nested = request.with_values && call.reply().protocol() == 3;
  call.reply().Array(picks.size() * (request.with_values && !nested ? 2 : 1));
  for (size_t at : picks) {
    if (nested) call.reply().Array(2);
    call.reply().Bulk(fields[at]->key());
    if (request.with_values) call.reply().Bulk(fields[at]->value);
  }
}

constexpr uint32_t kChanges = kWrite | kDenyOom | kFast;

constexpr Command kCommands[] = {
    {"hset", -4, kChanges, 1, 1, 1, Group::kHash, [](Call& call) { SetFields(call, false); },
     "Set fields"},
    {"hmset", -4, kChanges, 1, 1, 1, Group::kHash, [](Call& call) { SetFields(call, true); },
     "Set fields"},
    {"hsetnx", 4, kChanges, 1, 1, 1, Group::kHash, Hsetnx, "Set a field unless it exists"},
    {"hget", 3, kReadOnly | kFast, 1, 1, 1, Group::kHash, Hget, "Get a field"},
    {"hmget", -3, kReadOnly | kFast, 1, 1, 1, Group::kHash, Hmget, "Get several fields"},
    {"hdel", -3, kWrite | kFast, 1, 1, 1, Group::kHash, Hdel, "Delete fields"},
    {"hlen", 2, kReadOnly | kFast, 1, 1, 1, Group::kHash, Hlen, "Number of fields"},
    {"hstrlen", 3, kReadOnly | kFast, 1, 1, 1, Group::kHash, Hstrlen, "Length of a field's value"},
    {"hexists", 3, kReadOnly | kFast, 1, 1, 1, Group::kHash, Hexists, "Whether a field exists"},
    {"hkeys", 2, kReadOnly, 1, 1, 1, Group::kHash,
     [](Call& call) { ListFields(call, true, false); }, "Names of all fields"},
    {"hvals", 2, kReadOnly, 1, 1, 1, Group::kHash,
     [](Call& call) { ListFields(call, false, true); }, "Values of all fields"},
    {"hgetall", 2, kReadOnly, 1, 1, 1, Group::kHash,
     [](Call& call) { ListFields(call, true, true); }, "All fields"},
    {"hincrby", 4, kChanges, 1, 1, 1, Group::kHash, Hincrby, "Add to a field"},
    {"hincrbyfloat", 4, kChanges, 1, 1, 1, Group::kHash, Hincrbyfloat,
     "Add a floating point number to a field"},
    {"hrandfield", -2, kReadOnly, 1, 1, 1, Group::kHash, Hrandfield, "Some fields"},
};

}  // namespace

absl::Span<const Command> HashCommands() { return kCommands; }

}  // namespace liveexec::demo
