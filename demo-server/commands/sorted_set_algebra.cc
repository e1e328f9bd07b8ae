// Sorted sets: unions, intersections, differences, of sorted sets and of plain ones (whose scores
// are 1).
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

enum class Operation { kUnion, kIntersection, kDifference };
enum class Aggregate { kSum, kMin, kMax };

// One input: a sorted set, a set, or neither when there is no such key.
struct Input {
  const SortedSet* sorted = nullptr;
  const Set* plain = nullptr;
  double weight = 1;

  size_t size() const {
    return sorted != nullptr ? sorted->size() : plain != nullptr ? plain->size() : 0;
  }
  // The weighted score; false when it is not a member.
  bool Score(std::string_view member, double* score) const {
    if (sorted != nullptr) {
      const Member* found = sorted->Find(member);
      if (found == nullptr) return false;
      *score = Weighted(found->score);
      return true;
    }
    if (plain == nullptr || !plain->Contains(member)) return false;
    *score = Weighted(1);
    return true;
  }
  double Weighted(double score) const {
    const double product = score * weight;
    return std::isnan(product) ? 0 : product;  // 0 * infinity
  }
  template <typename Visit>
  void ForEach(Visit visit) const {
    if (sorted != nullptr) {
      for (const Member* member : sorted->members().nodes()) {
        visit(member->key(), Weighted(member->score));
      }
    } else if (plain != nullptr) {
      for (const SetNode* node : plain->nodes().nodes()) visit(node->key(), Weighted(1));
    }
  }
};

struct Request {
  Operation operation = Operation::kUnion;
  Aggregate aggregate = Aggregate::kSum;
  std::vector<Input> inputs;
  bool with_scores = false;
  int64_t limit = 0;  // ZINTERCARD; 0: none
};

bool ReadInputs(Call& call, size_t count_argument, Request* request, size_t* next) {
  int64_t keys = 0;
  if (!call.Integer(count_argument, &keys)) return false;
  if (keys < 1) {
    std::string text = "ERR at least 1 input key is needed for '";
    text.append(call.command().name).append("' command");
    call.reply().Error(text);
    return false;
  }
  if (static_cast<uint64_t>(keys) > call.size() - count_argument - 1) {
    call.SyntaxError();
    return false;
  }
  *next = count_argument + 1;
  for (int64_t i = 0; i < keys; ++i) {
    Input input;
    if (Entry* entry = call.Read(call[(*next)++]); entry != nullptr) {
      input.sorted = entry->value.As<SortedSet>();
      input.plain = entry->value.As<Set>();
      if (input.sorted == nullptr && input.plain == nullptr) {
        call.reply().Error(kWrongType);
        return false;
      }
    }
    request->inputs.push_back(input);
  }
  return true;
}

bool ReadAggregate(Call& call, size_t i, Aggregate* aggregate) {
  if (call.Is(i, "sum")) {
    *aggregate = Aggregate::kSum;
  } else if (call.Is(i, "min")) {
    *aggregate = Aggregate::kMin;
  } else if (call.Is(i, "max")) {
    *aggregate = Aggregate::kMax;
  } else {
    call.SyntaxError();
    return false;
  }
  return true;
}

bool ReadAlgebraOptions(Call& call, size_t first, bool store, Request* request) {
  const bool weighable = request->operation != Operation::kDifference;
  for (size_t i = first; i < call.size(); ++i) {
    const size_t left = call.size() - i - 1;
    if (weighable && call.Is(i, "weights") && left >= request->inputs.size()) {
      for (Input& input : request->inputs) {
        if (!call.Double(++i, &input.weight, "ERR weight value is not a float")) return false;
      }
    } else if (weighable && call.Is(i, "aggregate") && left >= 1) {
      if (!ReadAggregate(call, ++i, &request->aggregate)) return false;
    } else if (!store && call.Is(i, "withscores")) {
      request->with_scores = true;
    } else {
      call.SyntaxError();
      return false;
    }
  }
  return true;
}

double Combine(Aggregate aggregate, double a, double b) {
  switch (aggregate) {
    case Aggregate::kMin:
      return std::min(a, b);
    case Aggregate::kMax:
      return std::max(a, b);
    case Aggregate::kSum:
      break;
  }
  const double sum = a + b;
  return std::isnan(sum) ? 0 : sum;  // infinity - infinity
}

void Unite(const Request& request, SortedSet& result) {
  for (const Input& input : request.inputs) {
    input.ForEach([&](std::string_view member, double score) {
      const Member* known = result.Find(member);
      result.Set(member,
                 known == nullptr ? score : Combine(request.aggregate, known->score, score));
    });
  }
}

void Intersect(const Request& request, SortedSet& result) {
  std::vector<Input> inputs = request.inputs;
  std::sort(inputs.begin(), inputs.end(),
            [](const Input& a, const Input& b) { return a.size() < b.size(); });
  inputs[0].ForEach([&](std::string_view member, double score) {
    if (request.limit > 0 && result.size() >= static_cast<size_t>(request.limit)) return;
    for (size_t i = 1; i < inputs.size(); ++i) {
      double other = 0;
      if (!inputs[i].Score(member, &other)) return;
      score = Combine(request.aggregate, score, other);
    }
    result.Set(member, score);
  });
}

void Subtract(const Request& request, SortedSet& result) {
  request.inputs[0].ForEach([&](std::string_view member, double score) {
    double unused = 0;
    for (size_t i = 1; i < request.inputs.size(); ++i) {
      if (request.inputs[i].Score(member, &unused)) return;
    }
    result.Set(member, score);
  });
}

void Compute(const Request& request, SortedSet& result) {
  switch (request.operation) {
    case Operation::kUnion:
      return Unite(request, result);
    case Operation::kIntersection:
      return Intersect(request, result);
    case Operation::kDifference:
      return Subtract(request, result);
  }
}

void Show(Call& call, Operation operation) {
  Request request;
  request.operation = operation;
  size_t next = 0;
  if (!ReadInputs(call, 1, &request, &next)) return;
  if (!ReadAlgebraOptions(call, next, /*store=*/false, &request)) return;
  SortedSet result(call.seed());
  Compute(request, result);
  const bool nested = request.with_scores && call.reply().protocol() == 3;
  call.reply().Array(result.size() * (request.with_scores && !nested ? 2 : 1));
  result.index().ForRange(0, result.size(), /*reverse=*/false, [&](const Member* member) {
    if (nested) call.reply().Array(2);
    call.reply().Bulk(member->key());
    if (request.with_scores) call.reply().Double(member->score);
  });
}

void Store(Call& call, Operation operation) {
  Request request;
  request.operation = operation;
  size_t next = 0;
  if (!ReadInputs(call, 2, &request, &next)) return;
  if (!ReadAlgebraOptions(call, next, /*store=*/true, &request)) return;
  Value value(Type::kSortedSet, call.seed());
  Compute(request, *value.As<SortedSet>());
  const int64_t size = static_cast<int64_t>(value.As<SortedSet>()->size());
  if (size == 0) {
    call.Erase(call[1]);
  } else {
    call.Replace(call[1], std::move(value));
    call.Modified(call[1]);
  }
  call.reply().Integer(size);
}

void Zintercard(Call& call) {
  Request request;
  request.operation = Operation::kIntersection;
  size_t next = 0;
  if (!ReadInputs(call, 1, &request, &next)) return;
  for (; next < call.size(); next += 2) {
    if (!call.Is(next, "limit") || next + 1 >= call.size()) return call.SyntaxError();
    if (!ParseInteger(call[next + 1], &request.limit) || request.limit < 0) {
      return call.reply().Error("ERR LIMIT can't be negative");
    }
  }
  SortedSet result(call.seed());
  Compute(request, result);
  call.reply().Integer(static_cast<int64_t>(result.size()));
}

constexpr uint32_t kShow = kReadOnly | kMovableKeys;
constexpr uint32_t kStore = kWrite | kDenyOom | kMovableKeys;

constexpr Command kCommands[] = {
    {"zunion", -3, kShow, 0, 0, 0, Group::kSortedSet,
     [](Call& call) { Show(call, Operation::kUnion); }, "Union of sorted sets"},
    {"zinter", -3, kShow, 0, 0, 0, Group::kSortedSet,
     [](Call& call) { Show(call, Operation::kIntersection); }, "Intersection of sorted sets"},
    {"zdiff", -3, kShow, 0, 0, 0, Group::kSortedSet,
     [](Call& call) { Show(call, Operation::kDifference); }, "Difference of sorted sets"},
    {"zunionstore", -4, kStore, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Store(call, Operation::kUnion); }, "Store a union of sorted sets"},
    {"zinterstore", -4, kStore, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Store(call, Operation::kIntersection); },
     "Store an intersection of sorted sets"},
    {"zdiffstore", -4, kStore, 1, 1, 1, Group::kSortedSet,
     [](Call& call) { Store(call, Operation::kDifference); }, "Store a difference of sorted sets"},
    {"zintercard", -3, kShow, 0, 0, 0, Group::kSortedSet, Zintercard, "Size of an intersection"},
};

}  // namespace

absl::Span<const Command> SortedSetAlgebraCommands() { return kCommands; }

}  // namespace liveexec::demo
