// Sets: unions, intersections, differences.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

enum class Operation { kUnion, kIntersection, kDifference };

// The sets at arguments [first, end), null for missing keys. False after an error reply.
bool ReadSets(Call& call, size_t first, size_t end, std::vector<const Set*>* sets) {
  for (size_t i = first; i < end; ++i) {
    const Set* set;
    if (!call.Read(call[i], &set)) return false;
    sets->push_back(set);
  }
  return true;
}

void Unite(const std::vector<const Set*>& sets, Set& result) {
  for (const Set* set : sets) {
    if (set == nullptr) continue;
    for (std::string_view member : set->Members()) result.Add(member);
  }
}

// Stops at `most` members.
void Intersect(std::vector<const Set*> sets, size_t most, Set& result) {
  if (std::find(sets.begin(), sets.end(), nullptr) != sets.end()) return;
  std::sort(sets.begin(), sets.end(),
            [](const Set* a, const Set* b) { return a->size() < b->size(); });
  for (std::string_view member : sets[0]->Members()) {
    if (result.size() >= most) return;
    const bool everywhere = std::all_of(sets.begin() + 1, sets.end(),
                                        [&](const Set* set) { return set->Contains(member); });
    if (everywhere) result.Add(member);
  }
}

void Subtract(const std::vector<const Set*>& sets, Set& result) {
  if (sets[0] == nullptr) return;
  for (std::string_view member : sets[0]->Members()) {
    const bool elsewhere = std::any_of(sets.begin() + 1, sets.end(), [&](const Set* set) {
      return set != nullptr && set->Contains(member);
    });
    if (!elsewhere) result.Add(member);
  }
}

void Compute(Operation operation, const std::vector<const Set*>& sets, Set& result) {
  switch (operation) {
    case Operation::kUnion:
      return Unite(sets, result);
    case Operation::kIntersection:
      return Intersect(sets, std::numeric_limits<size_t>::max(), result);
    case Operation::kDifference:
      return Subtract(sets, result);
  }
}

void Show(Call& call, Operation operation) {
  std::vector<const Set*> sets;
  if (!ReadSets(call, 1, call.size(), &sets)) return;
  Set result(call.seed());
  Compute(operation, sets, result);
  call.reply().Set(result.size());
  for (std::string_view member : result.Members()) call.reply().Bulk(member);
}

void Store(Call& call, Operation operation) {
  std::vector<const Set*> sets;
  if (!ReadSets(call, 2, call.size(), &sets)) return;
  Value value(Type::kSet, call.seed());
  Compute(operation, sets, *value.As<Set>());
  const int64_t size = static_cast<int64_t>(value.As<Set>()->size());
  if (size == 0) {
    call.Erase(call[1]);
  } else {
    call.Replace(call[1], std::move(value));
    call.Modified(call[1]);
  }
  call.reply().Integer(size);
}

// SINTERCARD numkeys key... [LIMIT n]
void Sintercard(Call& call) {
  int64_t keys = 0;
  if (!ParseInteger(call[1], &keys) || keys <= 0) {
    return call.reply().Error("ERR numkeys should be greater than 0");
  }
  if (static_cast<size_t>(keys) > call.size() - 2) {
    return call.reply().Error("ERR Number of keys can't be greater than number of args");
  }
  int64_t limit = 0;
  for (size_t i = 2 + static_cast<size_t>(keys); i < call.size(); i += 2) {
    if (!call.Is(i, "limit") || i + 1 >= call.size()) return call.SyntaxError();
    if (!ParseInteger(call[i + 1], &limit) || limit < 0) {
      return call.reply().Error("ERR LIMIT can't be negative");
    }
  }
  std::vector<const Set*> sets;
  if (!ReadSets(call, 2, 2 + static_cast<size_t>(keys), &sets)) return;
  Set result(call.seed());
  Intersect(sets, limit == 0 ? std::numeric_limits<size_t>::max() : static_cast<size_t>(limit),
            result);
  call.reply().Integer(static_cast<int64_t>(result.size()));
}

constexpr Command kCommands[] = {
    {"sunion", -2, kReadOnly, 1, -1, 1, Group::kSet,
     [](Call& call) { Show(call, Operation::kUnion); }, "Union of sets"},
    {"sinter", -2, kReadOnly, 1, -1, 1, Group::kSet,
     [](Call& call) { Show(call, Operation::kIntersection); }, "Intersection of sets"},
    {"sdiff", -2, kReadOnly, 1, -1, 1, Group::kSet,
     [](Call& call) { Show(call, Operation::kDifference); }, "Difference of sets"},
    {"sunionstore", -3, kWrite | kDenyOom, 1, -1, 1, Group::kSet,
     [](Call& call) { Store(call, Operation::kUnion); }, "Store a union of sets"},
    {"sinterstore", -3, kWrite | kDenyOom, 1, -1, 1, Group::kSet,
     [](Call& call) { Store(call, Operation::kIntersection); }, "Store an intersection of sets"},
    {"sdiffstore", -3, kWrite | kDenyOom, 1, -1, 1, Group::kSet,
     [](Call& call) { Store(call, Operation::kDifference); }, "Store a difference of sets"},
    {"sintercard", -3, kReadOnly | kMovableKeys, 0, 0, 0, Group::kSet, Sintercard,
     "Size of an intersection"},
};

}  // namespace

absl::Span<const Command> SetAlgebraCommands() { return kCommands; }

}  // namespace liveexec::demo
