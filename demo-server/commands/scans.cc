// SCAN and its kin: iteration in steps, by cursors that stay good across changes and upgrades
// (data/dict.h).
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"
#include "demo-server/protocol/glob.h"

namespace liveexec::demo {
namespace {

struct ScanOptions {
  uint64_t cursor = 0;
  size_t count = 10;
  std::string_view pattern;  // empty: all
  bool has_pattern = false;
  std::string_view type;
  bool has_type = false;

  bool Matches(std::string_view key) const { return !has_pattern || GlobMatch(pattern, key); }
};

bool ReadCursor(Call& call, size_t i, uint64_t* cursor) {
  // As strtoul takes it: a sign and an empty string are fine.
  const std::string text(call[i]);
  char* end = nullptr;
  errno = 0;
  *cursor = strtoull(text.c_str(), &end, 10);
  if (errno == 0 && *end == '\0' && (text.empty() || !isspace(text[0]))) return true;
  call.reply().Error("ERR invalid cursor");
  return false;
}

bool ReadOptions(Call& call, size_t first, bool with_type, ScanOptions* options) {
  for (size_t i = first; i < call.size(); i += 2) {
    if (i + 1 >= call.size()) {
      call.SyntaxError();
      return false;
    }
    if (call.Is(i, "count")) {
      int64_t count = 0;
      if (!call.Integer(i + 1, &count)) return false;
      if (count < 1) {
        call.SyntaxError();
        return false;
      }
      options->count = static_cast<size_t>(count);
    } else if (call.Is(i, "match")) {
      options->pattern = call[i + 1];
      options->has_pattern = options->pattern != "*";
    } else if (with_type && call.Is(i, "type")) {
      options->type = call[i + 1];
      options->has_type = true;
    } else {
      call.SyntaxError();
      return false;
    }
  }
  return true;
}

// Gathers at least options.count nodes, or those of ten times as many buckets. Returns the next
// cursor.
template <typename Table, typename Visit>
uint64_t Gather(Table& table, const ScanOptions& options, Visit visit) {
  uint64_t cursor = options.cursor;
  size_t seen = 0;
  const size_t most = options.count > std::numeric_limits<size_t>::max() / 10
                          ? std::numeric_limits<size_t>::max()
                          : options.count * 10;
  for (size_t buckets = 0; buckets < most && seen < options.count; ++buckets) {
    cursor = table.Scan(cursor, [&](auto* node) {
      ++seen;
      visit(node);
    });
    if (cursor == 0) break;
  }
  return cursor;
}

void ReplyCursor(Call& call, uint64_t cursor, size_t elements) {
  call.reply().Array(2);
  call.reply().BulkInteger(static_cast<int64_t>(cursor));
  call.reply().Array(elements);
}

void Scan(Call& call) {
  ScanOptions options;
  if (!ReadCursor(call, 1, &options.cursor)) return;
  if (!ReadOptions(call, 2, /*with_type=*/true, &options)) return;
  std::vector<Entry*> seen;
  Database& database = call.engine().keyspace().database(call.database());
  const uint64_t next = Gather(database, options, [&](Entry* entry) { seen.push_back(entry); });
  std::vector<const Entry*> found;
  for (Entry* entry : seen) {
    if (!options.Matches(entry->key())) continue;
    if (options.has_type && !IsWord(options.type, TypeName(entry->value.type()))) continue;
    if (entry->expires_at != kNoExpiry && entry->expires_at <= call.now()) {
      if (call.engine().may_expire()) call.engine().Expire(call.database(), entry);
      continue;
    }
    found.push_back(entry);
  }
  ReplyCursor(call, next, found.size());
  for (const Entry* entry : found) call.reply().Bulk(entry->key());
}

// HSCAN, SSCAN, ZSCAN. `table` gives the dictionary of a T; a compact one is replied whole, as by
// Redis.
template <typename T, typename Table, typename Emit>
void ScanValue(Call& call, Table table_of, bool (*compact)(const T&), size_t width, Emit emit) {
  ScanOptions options;
  if (!ReadCursor(call, 2, &options.cursor)) return;
  const T* value;
  if (!call.Read(call[1], &value)) return;
  if (value == nullptr) return ReplyCursor(call, 0, 0);
  if (!ReadOptions(call, 3, /*with_type=*/false, &options)) return;
  if (compact(*value)) {
    options.cursor = 0;
    options.count = std::numeric_limits<size_t>::max();
  }
  using Node =
      std::remove_pointer_t<typename std::decay_t<decltype(table_of(*value).nodes())>::value_type>;
  std::vector<const Node*> found;
  uint64_t next = 0;
  auto keep = [&](const Node* node) {
    if (options.Matches(node->key())) found.push_back(node);
  };
  if (compact(*value)) {
    for (const Node* node : table_of(*value).nodes()) keep(node);
  } else {
    next = Gather(table_of(*value), options, keep);
  }
  ReplyCursor(call, next, found.size() * width);
  for (const Node* node : found) emit(*node);
}

void Hscan(Call& call) {
  ScanValue<Hash>(
      call, [](const Hash& hash) -> const Dict<Field>& { return hash.fields(); },
      [](const Hash& hash) { return hash.compact(); }, 2,
      [&](const Field& field) {
        call.reply().Bulk(field.key());
        call.reply().Bulk(field.value);
      });
}

void Sscan(Call& call) {
  ScanValue<Set>(
      call, [](const Set& set) -> const Dict<SetNode>& { return set.nodes(); },
      [](const Set& set) { return set.integers(); }, 1,
      [&](const SetNode& node) { call.reply().Bulk(node.key()); });
}

void Zscan(Call& call) {
  ScanValue<SortedSet>(
      call, [](const SortedSet& set) -> const Dict<Member>& { return set.members(); },
      [](const SortedSet& set) { return set.compact(); }, 2,
      [&](const Member& member) {
        call.reply().Bulk(member.key());
        call.reply().Bulk(FormatDouble(member.score));
      });
}

constexpr Command kCommands[] = {
    {"scan", -2, kReadOnly, 0, 0, 0, Group::kGeneric, Scan, "Iterate over the keys"},
    {"hscan", -3, kReadOnly, 1, 1, 1, Group::kHash, Hscan, "Iterate over the fields of a hash"},
    {"sscan", -3, kReadOnly, 1, 1, 1, Group::kSet, Sscan, "Iterate over the members of a set"},
    {"zscan", -3, kReadOnly, 1, 1, 1, Group::kSortedSet, Zscan,
     "Iterate over the members of a sorted set"},
};

}  // namespace

absl::Span<const Command> ScanCommands() { return kCommands; }

}  // namespace liveexec::demo
