// Lists: changes in the middle, and search.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

void Lset(Call& call) {
  List* list;
  if (!call.Find(call[1], &list)) return;
  if (list == nullptr) return call.reply().Error(kNoSuchKey);
  int64_t index = 0;
  if (!call.Integer(2, &index)) return;
  const int64_t size = static_cast<int64_t>(list->size());
  if (index < 0) index += size;
  if (index < 0 || index >= size) return call.reply().Error(kIndexOutOfRange);
  (*list)[static_cast<size_t>(index)].assign(call[3]);
  call.Modified(call[1]);
  call.reply().Ok();
}

void Linsert(Call& call) {
  const bool after = call.Is(2, "after");
  if (!after && !call.Is(2, "before")) return call.SyntaxError();
  List* list;
  if (!call.Find(call[1], &list)) return;
  if (list == nullptr) return call.reply().Integer(0);
  auto pivot = std::find(list->begin(), list->end(), call[3]);
  if (pivot == list->end()) return call.reply().Integer(-1);
  list->insert(after ? pivot + 1 : pivot, Bytes(call[4]));
  call.Modified(call[1]);
  call.reply().Integer(static_cast<int64_t>(list->size()));
}

// Removes up to `most` elements equal to `element`, from the front or from the back.
int64_t RemoveElements(List& list, std::string_view element, size_t most, bool from_back) {
  int64_t removed = 0;
  auto doomed = [&](const Bytes& candidate) {
    if (static_cast<size_t>(removed) >= most || candidate != element) return false;
    ++removed;
    return true;
  };
  if (from_back) {
    auto end = std::remove_if(list.rbegin(), list.rend(), doomed);
    list.erase(list.begin(), end.base());
  } else {
    list.erase(std::remove_if(list.begin(), list.end(), doomed), list.end());
  }
  return removed;
}

void Lrem(Call& call) {
  int64_t count = 0;
  if (!call.Integer(2, &count)) return;
  List* list;
  if (!call.Find(call[1], &list)) return;
  if (list == nullptr) return call.reply().Integer(0);
  const size_t most = count == 0  ? std::numeric_limits<size_t>::max()
                      : count > 0 ? static_cast<size_t>(count)
                                  : size_t{0} - static_cast<size_t>(count);
  const int64_t removed = RemoveElements(*list, call[3], most, count < 0);
  if (removed > 0) {
    call.Modified(call[1]);
    call.EraseIfEmpty(call[1]);
  }
  call.reply().Integer(removed);
}

struct Search {
  int64_t rank = 1;
  int64_t count = -1;  // -1: the first match alone
  int64_t most = 0;    // comparisons; 0: no limit
};

bool ReadSearch(Call& call, Search* search) {
  for (size_t i = 3; i < call.size(); i += 2) {
    if (i + 1 >= call.size()) {
      call.SyntaxError();
      return false;
    }
    if (call.Is(i, "rank")) {
      if (!call.Integer(i + 1, &search->rank)) return false;
      if (search->rank == 0) {
        call.reply().Error(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
            "or use negative to start from the end of the list");
        return false;
      }
      if (search->rank == std::numeric_limits<int64_t>::min()) {
        call.reply().Error(
            "ERR value is out of range, value must between -9223372036854775807 "
            "and 9223372036854775807");
        return false;
      }
    } else if (call.Is(i, "count")) {
      if (!ParseInteger(call[i + 1], &search->count) || search->count < 0) {
        call.reply().Error("ERR COUNT can't be negative");
        return false;
      }
    } else if (call.Is(i, "maxlen")) {
      if (!ParseInteger(call[i + 1], &search->most) || search->most < 0) {
        call.reply().Error("ERR MAXLEN can't be negative");
        return false;
      }
    } else {
      call.SyntaxError();
      return false;
    }
  }
  return true;
}

std::vector<size_t> FindElements(const List& list, std::string_view element, const Search& search) {
  std::vector<size_t> found;
  const bool backwards = search.rank < 0;
  int64_t to_skip = (backwards ? -search.rank : search.rank) - 1;
  size_t steps = list.size();
  if (search.most > 0) steps = std::min(steps, static_cast<size_t>(search.most));
  const size_t wanted = search.count < 0    ? 1
                        : search.count == 0 ? list.size()
                                            : static_cast<size_t>(search.count);
  for (size_t step = 0; step < steps && found.size() < wanted; ++step) {
    const size_t at = backwards ? list.size() - 1 - step : step;
    if (list[at] != element) continue;
    if (to_skip-- > 0) continue;
    found.push_back(at);
  }
  return found;
}

void Lpos(Call& call) {
  Search search;
  if (!ReadSearch(call, &search)) return;
  const List* list;
  if (!call.Read(call[1], &list)) return;
  std::vector<size_t> found;
  if (list != nullptr) found = FindElements(*list, call[2], search);
  if (search.count < 0) {
    if (found.empty()) return call.reply().Null();
    return call.reply().Integer(static_cast<int64_t>(found[0]));
  }
  call.reply().Array(found.size());
  for (size_t at : found) call.reply().Integer(static_cast<int64_t>(at));
}

constexpr Command kCommands[] = {
    {"lset", 4, kWrite | kDenyOom, 1, 1, 1, Group::kList, Lset, "Replace an element"},
    {"linsert", 5, kWrite | kDenyOom, 1, 1, 1, Group::kList, Linsert,
     "Insert beside another element"},
    {"lrem", 4, kWrite, 1, 1, 1, Group::kList, Lrem, "Remove equal elements"},
    {"lpos", -3, kReadOnly, 1, 1, 1, Group::kList, Lpos, "Positions of an element"},
};

}  // namespace

absl::Span<const Command> ListEditCommands() { return kCommands; }

}  // namespace liveexec::demo
