// Sorted sets: ranges of members.
#include <algorithm>
#include <string>
#include <utility>

#include "demo-server/commands/families.h"
#include "demo-server/commands/score_ranges.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

struct RangeRequest {
  RangeBy by = RangeBy::kRank;
  bool reverse = false;
  bool with_scores = false;
  bool limited = false;
  int64_t offset = 0;
  int64_t count = -1;  // negative: all
};

// What the command's name leaves open.
struct RangeForm {
  bool any_kind = false;   // BYSCORE, BYLEX and REV are options
  bool has_limit = true;   // LIMIT is an option
  bool has_scores = true;  // WITHSCORES is an option
};

bool ReadRangeOptions(Call& call, size_t first, RangeForm form, RangeRequest* request) {
  for (size_t i = first; i < call.size(); ++i) {
    if (form.has_scores && call.Is(i, "withscores")) {
      request->with_scores = true;
    } else if (form.has_limit && call.Is(i, "limit") && i + 2 < call.size()) {
      if (!call.Integer(i + 1, &request->offset) || !call.Integer(i + 2, &request->count)) {
        return false;
      }
      request->limited = true;
      i += 2;
    } else if (form.any_kind && call.Is(i, "rev")) {
      request->reverse = true;
    } else if (form.any_kind && call.Is(i, "bylex")) {
      request->by = RangeBy::kLex;
    } else if (form.any_kind && call.Is(i, "byscore")) {
      request->by = RangeBy::kScore;
    } else {
      call.SyntaxError();
      return false;
    }
  }
  if (request->limited && request->by == RangeBy::kRank) {
    call.reply().Error(
        "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
    return false;
  }
  if (request->with_scores && request->by == RangeBy::kLex) {
    call.reply().Error("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
    return false;
  }
  return true;
}

// Applies LIMIT, in the direction of the request.
IndexRange Limit(const RangeRequest& request, IndexRange range) {
  if (!request.limited) return range;
  if (request.offset < 0 || static_cast<uint64_t>(request.offset) >= range.count) return {};
  const size_t offset = static_cast<size_t>(request.offset);
  size_t count = range.count - offset;
  if (request.count >= 0) count = std::min(count, static_cast<size_t>(request.count));
  const size_t skipped = request.reverse ? range.count - offset - count : offset;
  return {range.first + skipped, count};
}

template <typename Visit>
void ForMembers(const SortedSet& set, const RangeRequest& request, IndexRange range, Visit visit) {
  if (range.count == 0) return;
  const size_t first = request.reverse ? range.first + range.count - 1 : range.first;
  set.index().ForRange(first, range.count, request.reverse, visit);
}

// The range of the set at argument `key`, bounds in the two arguments after it: in the order max
// min when reversed, but for ranks.
bool ReadRange(Call& call, size_t key, const RangeRequest& request, const SortedSet** set,
               IndexRange* range) {
  const bool swapped = request.reverse && request.by != RangeBy::kRank;
  AnyRange any;
  if (!any.Read(call, request.by, key + (swapped ? 2 : 1), key + (swapped ? 1 : 2))) return false;
  if (!call.Read(call[key], set)) return false;
  if (*set != nullptr) *range = Limit(request, any.In(**set, request.reverse));
  return true;
}

void Show(Call& call, const RangeRequest& request) {
  const SortedSet* set = nullptr;
  IndexRange range;
  if (!ReadRange(call, 1, request, &set, &range)) return;
  const bool nested = request.with_scores && call.reply().protocol() == 3;
  call.reply().Array(range.count * (request.with_scores && !nested ? 2 : 1));
  if (set == nullptr) return;
  ForMembers(*set, request, range, [&](const Member* member) {
    if (nested) call.reply().Array(2);
    call.reply().Bulk(member->key());
    if (request.with_scores) call.reply().Double(member->score);
  });
}

void ShowWithOptions(Call& call, RangeRequest request, RangeForm form) {
  if (ReadRangeOptions(call, 4, form, &request)) Show(call, request);
}

void Zrangestore(Call& call) {
  RangeRequest request;
  const RangeForm form{.any_kind = true, .has_limit = true, .has_scores = false};
  if (!ReadRangeOptions(call, 5, form, &request)) return;
  const SortedSet* set = nullptr;
  IndexRange range;
  if (!ReadRange(call, 2, request, &set, &range)) return;
  Value value(Type::kSortedSet, call.seed());
  if (set != nullptr) {
    ForMembers(*set, request, range, [&](const Member* member) {
      value.As<SortedSet>()->Set(member->key(), member->score);
    });
  }
  const int64_t size = static_cast<int64_t>(range.count);
  if (size == 0) {
    call.Erase(call[1]);
  } else {
    call.Replace(call[1], std::move(value));
    call.Modified(call[1]);
  }
  call.reply().Integer(size);
}

void Count(Call& call, RangeBy by) {
  RangeRequest request;
  request.by = by;
  const SortedSet* set = nullptr;
  IndexRange range;
  if (!ReadRange(call, 1, request, &set, &range)) return;
  call.reply().Integer(static_cast<int64_t>(range.count));
}

void Remove(Call& call, RangeBy by) {
  AnyRange any;
  if (!any.Read(call, by, 2, 3)) return;
  SortedSet* set;
  if (!call.Find(call[1], &set)) return;
  if (set == nullptr) return call.reply().Integer(0);
  const IndexRange range = any.In(*set, /*reverse=*/false);
  if (range.count > 0) {
    set->EraseRange(range.first, range.count);
    call.Modified(call[1]);
    call.EraseIfEmpty(call[1]);
  }
  call.reply().Integer(static_cast<int64_t>(range.count));
}

constexpr RangeForm kAnyForm = {.any_kind = true, .has_limit = true, .has_scores = true};
constexpr RangeForm kNamedForm = {.any_kind = false, .has_limit = true, .has_scores = true};

constexpr RangeRequest By(RangeBy by, bool reverse) {
  RangeRequest request;
  request.by = by;
  request.reverse = reverse;
  return request;
}

constexpr Command kCommands[] = {
    {"zrange", -4, kReadOnly, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { ShowWithOptions(call, {}, kAnyForm); }, "Members of a range"},
    {"zrevrange", -4, kReadOnly, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { ShowWithOptions(call, By(RangeBy::kRank, true), kNamedForm); },
     "Members of a range of ranks from the end"},
    {"zrangebyscore", -4, kReadOnly, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { ShowWithOptions(call, By(RangeBy::kScore, false), kNamedForm); },
     "Members of a range of scores"},
    {"zrevrangebyscore", -4, kReadOnly, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { ShowWithOptions(call, By(RangeBy::kScore, true), kNamedForm); },
     "Members of a range of scores, highest first"},
    {"zrangebylex", -4, kReadOnly, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { ShowWithOptions(call, By(RangeBy::kLex, false), kNamedForm); },
     "Members of a range of byte strings"},
    {"zrevrangebylex", -4, kReadOnly, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { ShowWithOptions(call, By(RangeBy::kLex, true), kNamedForm); },
     "Members of a range of byte strings, last first"},
    {"zrangestore", -5, kWrite | kDenyOom, 1, 2, 1, Group::kSortedSet, Zrangestore,
     "Store the members of a range"},
    {"zcount", 4, kReadOnly | kFast, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Count(call, RangeBy::kScore); }, "Count the members of a range of scores"},
    {"zlexcount", 4, kReadOnly | kFast, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Count(call, RangeBy::kLex); },
     "Count the members of a range of byte strings"},
    {"zremrangebyrank", 4, kWrite, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Remove(call, RangeBy::kRank); }, "Remove a range of ranks"},
    {"zremrangebyscore", 4, kWrite, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Remove(call, RangeBy::kScore); }, "Remove a range of scores"},
    {"zremrangebylex", 4, kWrite, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Remove(call, RangeBy::kLex); }, "Remove a range of byte strings"},
};

}  // namespace

absl::Span<const Command> SortedSetRangeCommands() { return kCommands; }

}  // namespace liveexec::demo
