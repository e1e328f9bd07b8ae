// DEBUG: what test suites of clients and of Redis itself ask for.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "demo-server/commands/families.h"
#include "demo-server/data/hash_bytes.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

void ReplyOk(Call& call) { call.reply().Ok(); }

void Sleep(Call& call) {
  // What stands behind a number is ignored, as by Redis: some clients end the word with a CRLF.
  const double seconds = strtod(std::string(call[2]).c_str(), nullptr);
  // With the lock held: it is the point of the command that nobody is served meanwhile.
  constexpr double kMost = 60;
  if (seconds > 0) usleep(static_cast<useconds_t>(std::min(seconds, kMost) * 1e6));
  call.reply().Ok();
}

void SetActiveExpire(Call& call) {
  int64_t on = 0;
  if (!call.Integer(2, &on)) return;
  call.engine().config().Set(kActiveExpire, on != 0 ? "1" : "0");
  call.engine().ApplyConfig();
  call.reply().Ok();
}

void RaiseError(Call& call) { call.reply().Error(call[2]); }

// ---- Digests: equal for equal contents, whatever the order in which unordered parts are stored.

class Digest {
 public:
  // Order matters.
  void Mix(std::string_view bytes) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] = HashBytes(bytes, words_[i] + i + 1);
  }
  // Order does not matter.
  void Combine(const Digest& part) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] ^= part.words_[i];
  }
  // 40 hexadecimal digits, as of a SHA-1.
  std::string ToString() const {
    char text[49];
    snprintf(text, sizeof(text), "%016llx%016llx%016llx", Word(0), Word(1), Word(2));
    return std::string(text, 40);
  }

 private:
  unsigned long long Word(size_t i) const { return words_[i]; }
  std::array<uint64_t, 3> words_{};
};

template <typename... Bytes>
Digest Of(const Bytes&... parts) {
  Digest digest;
  (digest.Mix(parts), ...);
  return digest;
}

Digest DigestOf(const Entry& entry) {
  Digest digest = Of(TypeName(entry.value.type()));
  if (entry.expires_at != kNoExpiry) digest.Mix("expires");
  const Value& value = entry.value;
  if (const Bytes* text = value.As<Bytes>(); text != nullptr) {
    digest.Mix(*text);
  } else if (const List* list = value.As<List>(); list != nullptr) {
    for (const Bytes& element : *list) digest.Mix(element);
  } else if (const Hash* hash = value.As<Hash>(); hash != nullptr) {
    for (const Field* field : hash->fields().nodes()) {
      digest.Combine(Of(field->key(), field->value));
    }
  } else if (const Set* set = value.As<Set>(); set != nullptr) {
    for (const SetNode* node : set->nodes().nodes()) digest.Combine(Of(node->key()));
  } else if (const SortedSet* sorted = value.As<SortedSet>(); sorted != nullptr) {
    for (const Member* member : sorted->members().nodes()) {
      digest.Combine(Of(member->key(), FormatDouble(member->score)));
    }
  }
  return digest;
}

void DigestAll(Call& call) {
  Digest all;
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    Database& database = call.engine().keyspace().database(i);
    if (database.pending() != nullptr) database.pending()->LoadRange(database, 0, UINT64_MAX);
    for (const Entry* entry : database.entries()) {
      Digest digest = DigestOf(*entry);
      digest.Mix(entry->key());
      digest.Mix(std::to_string(i));
      all.Combine(digest);
    }
  }
  call.reply().Simple(all.ToString());
}

void DigestValue(Call& call) {
  call.reply().Array(call.size() - 2);
  for (size_t i = 2; i < call.size(); ++i) {
    const Entry* entry = call.Find(call[i]);
    call.reply().Bulk((entry == nullptr ? Digest() : DigestOf(*entry)).ToString());
  }
}

void Object(Call& call) {
  const Entry* entry = call.Find(call[2]);
  if (entry == nullptr) return call.reply().Error(kNoSuchKey);
  std::string text = "Value at:0x";
  char address[24];
  snprintf(address, sizeof(address), "%llx",
           static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(&entry->value)));
  text.append(address).append(" refcount:1 encoding:").append(entry->value.Encoding());
  text += " serializedlength:0 lru:" + std::to_string(entry->accessed_at / 1000 % (1 << 24));
  text += " lru_seconds_idle:" + std::to_string((call.now() - entry->accessed_at) / 1000);
  call.reply().Simple(text);
}

// DEBUG PROTOCOL type: a reply of each type that the protocol has.
void Protocol(Call& call) {
  Reply& reply = call.reply();
  if (call.Is(2, "string")) return reply.Bulk("Hello World");
  if (call.Is(2, "integer")) return reply.Integer(12345);
  if (call.Is(2, "double")) return reply.Double(3.141);
  if (call.Is(2, "null")) return reply.Null();
  if (call.Is(2, "true")) return reply.Bool(true);
  if (call.Is(2, "false")) return reply.Bool(false);
  if (call.Is(2, "verbatim")) return reply.Verbatim("This is a verbatim\nstring");
  if (call.Is(2, "bignum")) return reply.BigNumber("1234567999999999999999999999999999999");
  if (call.Is(2, "array") || call.Is(2, "set") || call.Is(2, "map")) {
    if (call.Is(2, "array")) reply.Array(3);
    if (call.Is(2, "set")) reply.Set(3);
    if (call.Is(2, "map")) reply.Map(3);
    for (int i = 0; i < 3; ++i) {
      reply.Integer(i);
      if (call.Is(2, "map")) reply.Bool(i == 1);
    }
    return;
  }
  if (call.Is(2, "attrib")) {
    if (reply.protocol() > 2) {
      reply.Attribute(1);
      reply.Bulk("key-popularity");
      reply.Array(2);
      reply.Bulk("key:123");
      reply.Integer(90);
    }
    return reply.Bulk("Some real reply following the attribute");
  }
  if (call.Is(2, "push")) {
    reply.Push(2);
    reply.Bulk("server-cpu-usage");
    return reply.Integer(42);
  }
  reply.Error(
      "ERR Wrong protocol type name. Please use one of the following: "
      "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false");
}

void StringMatchLength(Call& call) { call.reply().Integer(static_cast<int64_t>(call[2].size())); }

// Fills the database with keys "prefix:0", "prefix:1" and so on; those that exist stay.
void Populate(Call& call) {
  if (call.size() > 5) return call.ArityError();
  int64_t count = 0;
  int64_t size = 0;
  if (!call.Integer(2, &count)) return;
  if (call.size() == 5 && !call.Integer(4, &size)) return;
  constexpr int64_t kMost = int64_t{1} << 29;
  if (count < 0 || size < 0 || size > kMost) {
    return call.reply().Error("ERR value is out of range, must be positive");
  }
  const std::string prefix(call.size() > 3 ? call[3] : "key");
  for (int64_t i = 0; i < count; ++i) {
    const std::string number = std::to_string(i);
    const std::string key = prefix + ":" + number;
    if (call.Find(key) != nullptr) continue;
    std::string value = "value:" + number;
    if (size != 0) value.resize(static_cast<size_t>(size));
    call.Insert(key, Value(std::string_view(value)));
    call.Modified(key);
  }
  call.reply().Ok();
}

constexpr Command kCommands[] = {
    {"debug", -2, kContainer | kLenient | kAdmin, 0, 0, 0, Group::kServer,
     [](Call& call) { call.SubcommandError(); }, "Debugging"},
    {"debug|sleep", 3, kAdmin, 0, 0, 0, Group::kServer, Sleep, "Stop for some seconds"},
    {"debug|set-active-expire", 3, kAdmin, 0, 0, 0, Group::kServer, SetActiveExpire,
     "Whether expired keys go by themselves"},
    {"debug|error", 3, kAdmin, 0, 0, 0, Group::kServer, RaiseError, "Reply an error"},
    {"debug|digest", 2, kAdmin, 0, 0, 0, Group::kServer, DigestAll, "Digest of all data"},
    {"debug|digest-value", -2, kAdmin, 0, 0, 0, Group::kServer, DigestValue, "Digests of values"},
    {"debug|object", -3, kAdmin, 0, 0, 0, Group::kServer, Object, "Low level facts"},
    {"debug|protocol", 3, kAdmin, 0, 0, 0, Group::kServer, Protocol, "Reply a type"},
    {"debug|populate", -3, kAdmin | kWrite, 0, 0, 0, Group::kServer, Populate, "Make keys"},
    // Nothing is on disk, and the data are as they would be after having been read from there.
    {"debug|reload", -2, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Save and load"},
    {"debug|loadaof", 2, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Load the log"},
    // Tuning of what is not here.
    {"debug|quicklist-packed-threshold", 3, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Accepted"},
    {"debug|change-repl-id", 2, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Accepted"},
    {"debug|jmap", 2, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Accepted"},
    {"debug|log", 3, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Accepted"},
    {"debug|dict-resizing", 3, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Accepted"},
    {"debug|replybuffer", 4, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Accepted"},
    {"debug|pause-cron", 3, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Accepted"},
    {"debug|stringmatch-len", 4, kAdmin, 0, 0, 0, Group::kServer, StringMatchLength, "Accepted"},
};

}  // namespace

absl::Span<const Command> DebugCommands() { return kCommands; }

}  // namespace liveexec::demo
