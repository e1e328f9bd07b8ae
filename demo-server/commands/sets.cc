// Sets: one at a time.
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/commands/random_picks.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

void Sadd(Call& call) {
  Set* set;
  if (!call.FindOrCreate(call[1], &set)) return;
  int64_t added = 0;
  for (size_t i = 2; i < call.size(); ++i) added += set->Add(call[i]) ? 1 : 0;
  if (added > 0) call.Modified(call[1]);
  call.reply().Integer(added);
}

void Srem(Call& call) {
  Set* set;
  if (!call.Find(call[1], &set)) return;
  if (set == nullptr) return call.reply().Integer(0);
  int64_t erased = 0;
  for (size_t i = 2; i < call.size(); ++i) erased += set->Erase(call[i]) ? 1 : 0;
  if (erased > 0) {
    call.Modified(call[1]);
    call.EraseIfEmpty(call[1]);
  }
  call.reply().Integer(erased);
}

void Smembers(Call& call) {
  const Set* set;
  if (!call.Read(call[1], &set)) return;
  if (set == nullptr) return call.reply().Set(0);
  call.reply().Set(set->size());
  for (std::string_view member : set->Members()) call.reply().Bulk(member);
}

void Sismember(Call& call) {
  const Set* set;
  if (!call.Read(call[1], &set)) return;
  call.reply().Integer(set != nullptr && set->Contains(call[2]) ? 1 : 0);
}

void Smismember(Call& call) {
  const Set* set;
  if (!call.Read(call[1], &set)) return;
  call.reply().Array(call.size() - 2);
  for (size_t i = 2; i < call.size(); ++i) {
    call.reply().Integer(set != nullptr && set->Contains(call[i]) ? 1 : 0);
  }
}

void Scard(Call& call) {
  const Set* set;
  if (!call.Read(call[1], &set)) return;
  call.reply().Integer(set == nullptr ? 0 : static_cast<int64_t>(set->size()));
}

void Smove(Call& call) {
  Set* source;
  Set* target;
  if (!call.Find(call[1], &source)) return;
  if (source == nullptr) return call.reply().Integer(0);
  if (!call.Find(call[2], &target)) return;
  if (source == target) return call.reply().Integer(source->Contains(call[3]) ? 1 : 0);
  if (!source->Erase(call[3])) return call.reply().Integer(0);
  call.Modified(call[1]);
  call.EraseIfEmpty(call[1]);
  if (call.FindOrCreate(call[2], &target)) target->Add(call[3]);
  call.Modified(call[2]);
  call.reply().Integer(1);
}

// The member at a random place, erased.
std::string TakeRandom(Call& call, Set& set) {
  const auto& nodes = set.nodes().nodes();
  std::string member(nodes[call.engine().random() % nodes.size()]->key());
  set.Erase(member);
  return member;
}

void Spop(Call& call) {
  if (call.size() > 3) return call.SyntaxError();
  int64_t count = 1;
  const bool counted = call.size() == 3;
  if (counted && (!ParseInteger(call[2], &count) || count < 0)) {
    return call.reply().Error("ERR value is out of range, must be positive");
  }
  Set* set;
  if (!call.Find(call[1], &set)) return;
  if (set == nullptr) return counted ? call.reply().Set(0) : call.reply().Null();
  if (!counted) {
    call.reply().Bulk(TakeRandom(call, *set));
  } else {
    const size_t taken = std::min(static_cast<size_t>(count), set->size());
    call.reply().Set(taken);
    for (size_t i = 0; i < taken; ++i) call.reply().Bulk(TakeRandom(call, *set));
    if (taken == 0) return;
  }
  call.Modified(call[1]);
  call.EraseIfEmpty(call[1]);
}

void Srandmember(Call& call) {
  RandomRequest request;
  if (call.size() > 3) return call.SyntaxError();
  if (!ReadRandomRequest(call, "", &request)) return;
  const Set* set;
  if (!call.Read(call[1], &set)) return;
  if (set == nullptr) return request.counted ? call.reply().Array(0) : call.reply().Null();
  const auto& nodes = set->nodes().nodes();
  if (!request.counted) {
    return call.reply().Bulk(nodes[call.engine().random() % nodes.size()]->key());
  }
  const auto picks = PickRandom(call.engine(), nodes.size(), request.count);
  // Redis replies with a set here when the picks are different ones.
  if (request.count > 0) {
    call.reply().Set(picks.size());
  } else {
    call.reply().Array(picks.size());
  }
  for (size_t at : picks) call.reply().Bulk(nodes[at]->key());
}

constexpr Command kCommands[] = {
    {"sadd", -3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kSet, Sadd, "Add members"},
    {"srem", -3, kWrite | kFast, 1, 1, 1, Group::kSet, Srem, "Remove members"},
    {"smembers", 2, kReadOnly, 1, 1, 1, Group::kSet, Smembers, "All members"},
    {"sismember", 3, kReadOnly | kFast, 1, 1, 1, Group::kSet, Sismember, "Whether it is a member"},
    {"smismember", -3, kReadOnly | kFast, 1, 1, 1, Group::kSet, Smismember,
     "Which of them are members"},
    {"scard", 2, kReadOnly | kFast, 1, 1, 1, Group::kSet, Scard, "Number of members"},
    {"smove", 4, kWrite | kFast, 1, 2, 1, Group::kSet, Smove, "Move a member to another set"},
    {"spop", -2, kWrite | kFast, 1, 1, 1, Group::kSet, Spop, "Take some members"},
    {"srandmember", -2, kReadOnly, 1, 1, 1, Group::kSet, Srandmember, "Some members"},
};

}  // namespace

absl::Span<const Command> SetCommands() { return kCommands; }

}  // namespace liveexec::demo
