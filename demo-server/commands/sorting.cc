// SORT: elements of a list, set or sorted set, ordered by themselves or by other keys.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/commands/ranges.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

struct SortRequest {
  std::string_view by;
  bool has_by = false;
  int64_t offset = 0;
  int64_t count = -1;
  std::vector<std::string_view> get;
  bool descending = false;
  bool alpha = false;
  std::string_view destination;
  bool store = false;

  bool unsorted() const { return has_by && by.find('*') == std::string_view::npos; }
};

bool ReadRequest(Call& call, bool may_store, SortRequest* request) {
  for (size_t i = 2; i < call.size(); ++i) {
    const size_t left = call.size() - i - 1;
    if (call.Is(i, "asc")) {
      request->descending = false;
    } else if (call.Is(i, "desc")) {
      request->descending = true;
    } else if (call.Is(i, "alpha")) {
      request->alpha = true;
    } else if (call.Is(i, "limit") && left >= 2) {
      if (!call.Integer(i + 1, &request->offset) || !call.Integer(i + 2, &request->count)) {
        return false;
      }
      i += 2;
    } else if (may_store && call.Is(i, "store") && left >= 1) {
      request->destination = call[++i];
      request->store = true;
    } else if (call.Is(i, "by") && left >= 1) {
      request->by = call[++i];
      request->has_by = true;
    } else if (call.Is(i, "get") && left >= 1) {
      request->get.push_back(call[++i]);
    } else {
      call.SyntaxError();
      return false;
    }
  }
  return true;
}

// What SORT takes for a number: anything that strtod takes, an empty text too.
bool ParseWeight(const std::string& text, double* number) {
  char* end = nullptr;
  errno = 0;
  *number = strtod(text.c_str(), &end);
  return *end == '\0' && errno != ERANGE && !std::isnan(*number);
}

// The elements of the value at `key` in its own order. False after an error reply.
bool ReadElements(Call& call, const SortRequest& request, std::vector<std::string>* elements) {
  const Entry* entry = call.Read(call[1]);
  if (entry == nullptr) return true;
  if (const List* list = entry->value.As<List>(); list != nullptr) {
    elements->assign(list->begin(), list->end());
  } else if (const Set* set = entry->value.As<Set>(); set != nullptr) {
    for (std::string_view member : set->Members()) elements->emplace_back(member);
  } else if (const SortedSet* sorted = entry->value.As<SortedSet>(); sorted != nullptr) {
    sorted->index().ForRange(0, sorted->size(), /*reverse=*/false,
                             [&](const Member* member) { elements->emplace_back(member->key()); });
    if (request.unsorted() && request.descending) {
      std::reverse(elements->begin(), elements->end());
    }
  } else {
    call.reply().Error(kWrongType);
    return false;
  }
  return true;
}

// What `pattern` means for `element`: "#" itself; "w_*" the string at a key; "h_*->f" a hash's
// field. Null when there is none. `itself` backs the first.
const Bytes* LookUp(Call& call, std::string_view pattern, const std::string& element,
                    Bytes* itself) {
  if (pattern == "#") {
    itself->assign(element);
    return itself;
  }
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return nullptr;
  std::string_view tail = pattern.substr(star + 1);
  std::string_view field;
  if (const size_t arrow = tail.find("->");
      arrow != std::string_view::npos && arrow + 2 < tail.size()) {
    field = tail.substr(arrow + 2);
    tail = tail.substr(0, arrow);
  }
  const std::string key = std::string(pattern.substr(0, star)) + element + std::string(tail);
  const Entry* entry = call.Find(key);
  if (entry == nullptr) return nullptr;
  if (field.empty()) return entry->value.As<Bytes>();
  const Hash* hash = entry->value.As<Hash>();
  return hash == nullptr ? nullptr : hash->Get(field);
}

struct Keyed {
  std::string element;
  std::string text;
  double number = 0;
  bool has_weight = true;
};

bool Order(Call& call, const SortRequest& request, std::vector<std::string>* elements) {
  if (request.unsorted()) return true;
  std::vector<Keyed> keyed;
  for (std::string& element : *elements) {
    Bytes itself;
    const Bytes* weight =
        LookUp(call, request.has_by ? request.by : std::string_view("#"), element, &itself);
    Keyed item;
    item.has_weight = weight != nullptr;
    if (weight != nullptr) item.text = std::string(*weight);
    if (!request.alpha && weight != nullptr && !ParseWeight(item.text, &item.number)) {
      call.reply().Error("ERR One or more scores can't be converted into double");
      return false;
    }
    item.element = std::move(element);
    keyed.push_back(std::move(item));
  }
  auto compare = [&](const Keyed& a, const Keyed& b) {
    if (!request.alpha) return a.number < b.number ? -1 : a.number > b.number ? 1 : 0;
    if (a.has_weight != b.has_weight) return a.has_weight ? 1 : -1;
    return a.text.compare(b.text);
  };
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    int order = compare(a, b);
    if (order == 0) order = a.element.compare(b.element);
    return request.descending ? order > 0 : order < 0;
  });
  for (size_t i = 0; i < keyed.size(); ++i) (*elements)[i] = std::move(keyed[i].element);
  return true;
}

void Sort(Call& call, bool may_store) {
  SortRequest request;
  std::vector<std::string> elements;
  if (!ReadRequest(call, may_store, &request)) return;
  if (!ReadElements(call, request, &elements) || !Order(call, request, &elements)) return;
  const int64_t offset = std::max<int64_t>(request.offset, 0);
  IndexRange range{0, elements.size()};
  if (request.count >= 0) {
    range = request.count == 0 || static_cast<uint64_t>(offset) >= elements.size()
                ? IndexRange{}
                : IndexRange{static_cast<size_t>(offset),
                             std::min(static_cast<size_t>(request.count),
                                      elements.size() - static_cast<size_t>(offset))};
  } else if (offset > 0) {
    range = ClipRange(offset, -1, elements.size());
  }
  if (request.get.empty()) request.get.push_back("#");
  const size_t outputs = range.count * request.get.size();
  Value stored(Type::kList, 0);
  if (!request.store) call.reply().Array(outputs);
  for (size_t i = 0; i < range.count; ++i) {
    for (std::string_view pattern : request.get) {
      Bytes itself;
      const Bytes* found = LookUp(call, pattern, elements[range.first + i], &itself);
      if (request.store) {
        stored.As<List>()->push_back(found == nullptr ? Bytes() : *found);
      } else if (found == nullptr) {
        call.reply().Null();
      } else {
        call.reply().Bulk(*found);
      }
    }
  }
  if (!request.store) return;
  if (outputs == 0) {
    call.Erase(request.destination);
  } else {
    call.Replace(request.destination, std::move(stored));
    call.Modified(request.destination);
  }
  call.reply().Integer(static_cast<int64_t>(outputs));
}

constexpr Command kCommands[] = {
    {"sort", -2, kWrite | kDenyOom | kMovableKeys, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Sort(call, true); }, "Sort elements"},
    {"sort_ro", -2, kReadOnly | kMovableKeys, 1, 1, 1, Group::kGeneric,
     [](Call& call) { Sort(call, false); }, "Sort elements, without storing"},
};

}  // namespace

absl::Span<const Command> SortCommands() { return kCommands; }

}  // namespace liveexec::demo
