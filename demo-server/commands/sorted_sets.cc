// Sorted sets: members and their scores.
#include <cmath>
#include <string>

#include "demo-server/commands/families.h"
#include "demo-server/commands/random_picks.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

constexpr std::string_view kNotANumber = "ERR resulting score is not a number (NaN)";

struct AddOptions {
  bool only_new = false;       // NX
  bool only_present = false;   // XX
  bool only_greater = false;   // GT
  bool only_less = false;      // LT
  bool count_changed = false;  // CH
  bool increment = false;      // INCR
};

// Returns the index of the first score, or 0 after an error reply.
size_t ReadAddOptions(Call& call, AddOptions* options) {
  size_t at = 2;
  for (; at < call.size(); ++at) {
    if (call.Is(at, "nx")) {
      options->only_new = true;
    } else if (call.Is(at, "xx")) {
      options->only_present = true;
    } else if (call.Is(at, "gt")) {
      options->only_greater = true;
    } else if (call.Is(at, "lt")) {
      options->only_less = true;
    } else if (call.Is(at, "ch")) {
      options->count_changed = true;
    } else if (call.Is(at, "incr")) {
      options->increment = true;
    } else {
      break;
    }
  }
  const size_t rest = call.size() - at;
  if (rest == 0 || rest % 2 != 0) {
    call.SyntaxError();
    return 0;
  }
  if (options->only_new && options->only_present) {
    call.reply().Error("ERR XX and NX options at the same time are not compatible");
    return 0;
  }
  if ((options->only_greater && options->only_new) || (options->only_less && options->only_new) ||
      (options->only_greater && options->only_less)) {
    call.reply().Error("ERR GT, LT, and/or NX options at the same time are not compatible");
    return 0;
  }
  if (options->increment && rest > 2) {
    call.reply().Error("ERR INCR option supports a single increment-element pair");
    return 0;
  }
  return at;
}

enum class Added { kNo, kNew, kChanged, kSame, kUndefined };

// Sets or increments one member's score as `options` allow; `score` becomes the member's new score.
Added AddOne(SortedSet& set, std::string_view name, const AddOptions& options, double* score) {
  const Member* known = set.Find(name);
  if (known == nullptr) {
    if (options.only_present) return Added::kNo;
    set.Set(name, *score);
    return Added::kNew;
  }
  if (options.only_new) return Added::kNo;
  const double old = known->score;
  const double wanted = options.increment ? old + *score : *score;
  if (std::isnan(wanted)) return Added::kUndefined;
  if ((options.only_greater && wanted <= old) || (options.only_less && wanted >= old)) {
    return Added::kNo;
  }
  *score = wanted;
  if (wanted == old) return Added::kSame;
  set.Set(name, wanted);
  return Added::kChanged;
}

void ZaddWith(Call& call, const AddOptions& options, size_t first) {
  double score = 0;
  for (size_t i = first; i < call.size(); i += 2) {
    if (!call.Double(i, &score)) return;
  }
  SortedSet* set;
  if (!call.Find(call[1], &set)) return;
  if (set == nullptr && options.only_present) {
    return options.increment ? call.reply().Null() : call.reply().Integer(0);
  }
  if (!call.FindOrCreate(call[1], &set)) return;
  int64_t added = 0;
  int64_t changed = 0;
  bool done = false;
  for (size_t i = first; i < call.size(); i += 2) {
    ParseDouble(call[i], &score);
    const Added result = AddOne(*set, call[i + 1], options, &score);
    if (result == Added::kUndefined) return call.reply().Error(kNotANumber);
    added += result == Added::kNew ? 1 : 0;
    changed += result == Added::kChanged ? 1 : 0;
    done = result != Added::kNo;
  }
  if (added + changed > 0) call.Modified(call[1]);
  if (!options.increment) {
    return call.reply().Integer(added + (options.count_changed ? changed : 0));
  }
  if (done) {
    call.reply().Double(score);
  } else {
    call.reply().Null();
  }
}

void Zadd(Call& call) {
  AddOptions options;
  const size_t first = ReadAddOptions(call, &options);
  if (first != 0) ZaddWith(call, options, first);
}

void Zincrby(Call& call) {
  AddOptions options;
  options.increment = true;
  ZaddWith(call, options, 2);
}

void Zscore(Call& call) {
  const SortedSet* set;
  if (!call.Read(call[1], &set)) return;
  const Member* member = set == nullptr ? nullptr : set->Find(call[2]);
  if (member == nullptr) return call.reply().Null();
  call.reply().Double(member->score);
}

void Zmscore(Call& call) {
  const SortedSet* set;
  if (!call.Read(call[1], &set)) return;
  call.reply().Array(call.size() - 2);
  for (size_t i = 2; i < call.size(); ++i) {
    const Member* member = set == nullptr ? nullptr : set->Find(call[i]);
    if (member == nullptr) {
      call.reply().Null();
    } else {
      call.reply().Double(member->score);
    }
  }
}

void Zcard(Call& call) {
  const SortedSet* set;
  if (!call.Read(call[1], &set)) return;
  call.reply().Integer(set == nullptr ? 0 : static_cast<int64_t>(set->size()));
}

void Zrank(Call& call, bool reverse) {
  const SortedSet* set;
  if (!call.Read(call[1], &set)) return;
  const Member* member = set == nullptr ? nullptr : set->Find(call[2]);
  if (member == nullptr) return call.reply().Null();
  const size_t rank = set->index().RankOf(*member);
  call.reply().Integer(static_cast<int64_t>(reverse ? set->size() - 1 - rank : rank));
}

void Zrem(Call& call) {
  SortedSet* set;
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

void Zpop(Call& call, bool lowest) {
  if (call.size() > 3) return call.SyntaxError();
  const bool counted = call.size() == 3;
  int64_t count = 1;
  if (counted && (!ParseInteger(call[2], &count) || count < 0)) {
    return call.reply().Error("ERR value is out of range, must be positive");
  }
  SortedSet* set;
  if (!call.Find(call[1], &set)) return;
  if (set == nullptr || count == 0) return call.reply().Array(0);
  const size_t taken = std::min(static_cast<size_t>(count), set->size());
  const bool nested = counted && call.reply().protocol() == 3;
  call.reply().Array(nested ? taken : taken * 2);
  set->index().ForRange(lowest ? 0 : set->size() - 1, taken, !lowest, [&](const Member* member) {
    if (nested) call.reply().Array(2);
    call.reply().Bulk(member->key());
    call.reply().Double(member->score);
  });
  set->EraseRange(lowest ? 0 : set->size() - taken, taken);
  call.Modified(call[1]);
  call.EraseIfEmpty(call[1]);
}

void Zrandmember(Call& call) {
  RandomRequest request;
  if (!ReadRandomRequest(call, "withscores", &request)) return;
  const SortedSet* set;
  if (!call.Read(call[1], &set)) return;
  if (set == nullptr) return request.counted ? call.reply().Array(0) : call.reply().Null();
  const auto& members = set->members().nodes();
  if (!request.counted) {
    return call.reply().Bulk(members[call.engine().random() % members.size()]->key());
  }
  const auto picks = PickRandom(call.engine(), members.size(), request.count);
  const bool nested = request.with_values && call.reply().protocol() == 3;
  call.reply().Array(picks.size() * (request.with_values && !nested ? 2 : 1));
  for (size_t at : picks) {
    if (nested) call.reply().Array(2);
    call.reply().Bulk(members[at]->key());
    if (request.with_values) call.reply().Double(members[at]->score);
  }
}

constexpr uint32_t kChanges = kWrite | kDenyOom | kFast;

constexpr Command kCommands[] = {
    {"zadd", -4, kChanges, 1, 1, 1, Group::kSortedSet, Zadd, "Add members or change scores"},
    {"zincrby", 4, kChanges, 1, 1, 1, Group::kSortedSet, Zincrby, "Add to a score"},
    {"zscore", 3, kReadOnly | kFast, 1, 1, 1, Group::kSortedSet, Zscore, "Score of a member"},
    {"zmscore", -3, kReadOnly | kFast, 1, 1, 1, Group::kSortedSet, Zmscore, "Scores of members"},
    {"zcard", 2, kReadOnly | kFast, 1, 1, 1, Group::kSortedSet, Zcard, "Number of members"},
    {"zrank", 3, kReadOnly | kFast, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Zrank(call, false); }, "Rank of a member"},
    {"zrevrank", 3, kReadOnly | kFast, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Zrank(call, true); }, "Rank of a member from the end"},
    {"zrem", -3, kWrite | kFast, 1, 1, 1, Group::kSortedSet, Zrem, "Remove members"},
    {"zpopmin", -2, kWrite | kFast, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Zpop(call, true); }, "Take the members with the lowest scores"},
    {"zpopmax", -2, kWrite | kFast, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Zpop(call, false); }, "Take the members with the highest scores"},
    {"zrandmember", -2, kReadOnly, 1, 1, 1, Group::kSortedSet, Zrandmember, "Some members"},
};

}  // namespace

absl::Span<const Command> SortedSetCommands() { return kCommands; }

}  // namespace liveexec::demo
