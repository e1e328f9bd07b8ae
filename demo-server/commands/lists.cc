// Lists: ends, lengths, ranges.
#include <algorithm>
#include <string>

#include "demo-server/commands/families.h"
#include "demo-server/commands/ranges.h"
#include "demo-server/engine/call.h"
#include "demo-server/engine/pops.h"

namespace liveexec::demo {
namespace {

void Push(Call& call, bool front, bool only_if_present) {
  List* list;
  if (!call.Find(call[1], &list)) return;
  if (list == nullptr) {
    if (only_if_present) return call.reply().Integer(0);
    list = call.Insert(call[1], Value(Type::kList, 0))->value.As<List>();
  }
  for (size_t i = 2; i < call.size(); ++i) {
    if (front) {
      list->emplace_front(call[i]);
    } else {
      list->emplace_back(call[i]);
    }
  }
  call.Modified(call[1]);
  call.reply().Integer(static_cast<int64_t>(list->size()));
}

void PopEnd(Call& call, bool front) {
  if (call.size() > 3) return call.ArityError();
  const bool counted = call.size() == 3;
  int64_t count = 1;
  if (counted) {
    if (!ParseInteger(call[2], &count) || count < 0) {
      return call.reply().Error("ERR value is out of range, must be positive");
    }
  }
  List* list;
  if (!call.Find(call[1], &list)) return;
  if (list == nullptr) return counted ? call.reply().NullArray() : call.reply().Null();
  if (!counted) {
    call.reply().Bulk(PopElement(*list, front));
  } else {
    const size_t taken = std::min(static_cast<size_t>(count), list->size());
    call.reply().Array(taken);
    for (size_t i = 0; i < taken; ++i) call.reply().Bulk(PopElement(*list, front));
    if (taken == 0) return;
  }
  call.Modified(call[1]);
  call.EraseIfEmpty(call[1]);
}

void Llen(Call& call) {
  const List* list;
  if (!call.Read(call[1], &list)) return;
  call.reply().Integer(list == nullptr ? 0 : static_cast<int64_t>(list->size()));
}

void Lindex(Call& call) {
  const List* list;
  if (!call.Read(call[1], &list)) return;
  if (list == nullptr) return call.reply().Null();
  int64_t index = 0;
  if (!call.Integer(2, &index)) return;
  const int64_t size = static_cast<int64_t>(list->size());
  if (index < 0) index += size;
  if (index < 0 || index >= size) return call.reply().Null();
  call.reply().Bulk((*list)[static_cast<size_t>(index)]);
}

void Lrange(Call& call) {
  int64_t start = 0;
  int64_t stop = 0;
  if (!call.Integer(2, &start) || !call.Integer(3, &stop)) return;
  const List* list;
  if (!call.Read(call[1], &list)) return;
  const IndexRange range = ClipRange(start, stop, list == nullptr ? 0 : list->size());
  call.reply().Array(range.count);
  for (size_t i = 0; i < range.count; ++i) call.reply().Bulk((*list)[range.first + i]);
}

void Ltrim(Call& call) {
  int64_t start = 0;
  int64_t stop = 0;
  if (!call.Integer(2, &start) || !call.Integer(3, &stop)) return;
  List* list;
  if (!call.Find(call[1], &list)) return;
  if (list == nullptr) return call.reply().Ok();
  const IndexRange range = ClipRange(start, stop, list->size());
  const auto first = list->begin() + static_cast<ptrdiff_t>(range.first);
  list->erase(first + static_cast<ptrdiff_t>(range.count), list->end());
  list->erase(list->begin(), list->begin() + static_cast<ptrdiff_t>(range.first));
  call.Modified(call[1]);
  call.EraseIfEmpty(call[1]);
  call.reply().Ok();
}

constexpr Command kCommands[] = {
    {"lpush", -3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kList,
     [](Call& call) { Push(call, true, false); }, "Add elements at the head"},
    {"rpush", -3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kList,
     [](Call& call) { Push(call, false, false); }, "Add elements at the tail"},
    {"lpushx", -3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kList,
     [](Call& call) { Push(call, true, true); }, "Add elements at the head of an existing list"},
    {"rpushx", -3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kList,
     [](Call& call) { Push(call, false, true); }, "Add elements at the tail of an existing list"},
    {"lpop", -2, kWrite | kFast, 1, 1, 1, Group::kList, [](Call& call) { PopEnd(call, true); },
     "Take elements from the head"},
    {"rpop", -2, kWrite | kFast, 1, 1, 1, Group::kList, [](Call& call) { PopEnd(call, false); },
     "Take elements from the tail"},
    {"llen", 2, kReadOnly | kFast, 1, 1, 1, Group::kList, Llen, "Length of a list"},
    {"lindex", 3, kReadOnly, 1, 1, 1, Group::kList, Lindex, "Element at a position"},
    {"lrange", 4, kReadOnly, 1, 1, 1, Group::kList, Lrange, "Elements of a range"},
    {"ltrim", 4, kWrite, 1, 1, 1, Group::kList, Ltrim, "Keep a range only"},
};

}  // namespace

absl::Span<const Command> ListCommands() { return kCommands; }

}  // namespace liveexec::demo
