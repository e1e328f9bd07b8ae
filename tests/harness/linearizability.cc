#include "tests/harness/linearizability.h"

#include <algorithm>
#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "tests/harness/random.h"

namespace liveexec::harness {

namespace {

constexpr size_t kNone = ~size_t{0};
constexpr size_t kContext = 12;

struct Configuration {
  uint64_t hash_a = 0;  // of the set of operations that have taken effect
  uint64_t hash_b = 0;
  int64_t state = 0;
  bool operator==(const Configuration&) const = default;
};

struct HashOf {
  size_t operator()(const Configuration& c) const {
    return c.hash_a ^ Mix64(static_cast<uint64_t>(c.state));
  }
};

// The list of what happened, from which an operation's two events are taken out when it is assumed
// to take effect, and put back when that led nowhere.
class Events {
 public:
  explicit Events(const std::vector<Operation>& operations) {
    struct Moment {
      int64_t at;
      bool completion;
      size_t operation;
    };
    std::vector<Moment> moments;
    for (size_t i = 0; i < operations.size(); ++i) {
      moments.push_back({operations[i].invoked_ns, false, i});
      moments.push_back({operations[i].completed_ns, true, i});
    }
    // At the same moment, invocations first: that allows more.
    std::sort(moments.begin(), moments.end(), [](const Moment& a, const Moment& b) {
      return a.at != b.at ? a.at < b.at : !a.completion && b.completion;
    });
    events_.resize(moments.size() + 1);  // [0] is the head
    call_.resize(operations.size());
    completion_.resize(operations.size());
    for (size_t i = 0; i < moments.size(); ++i) {
      events_[i + 1] = {moments[i].operation, moments[i].completion, i, i + 2};
      (moments[i].completion ? completion_ : call_)[moments[i].operation] = i + 1;
    }
    events_[0] = {kNone, false, kNone, events_.size() > 1 ? 1 : kNone};
    events_.back().next = kNone;
  }

  size_t first() const { return events_[0].next; }
  size_t next(size_t event) const { return events_[event].next; }
  size_t operation(size_t event) const { return events_[event].operation; }
  bool is_completion(size_t event) const { return events_[event].completion; }
  size_t call(size_t operation) const { return call_[operation]; }

  void Lift(size_t operation) {
    Unlink(call_[operation]);
    Unlink(completion_[operation]);
  }
  void PutBack(size_t operation) {
    Relink(completion_[operation]);
    Relink(call_[operation]);
  }

 private:
  struct Event {
    size_t operation;
    bool completion;
    size_t previous;
    size_t next;
  };
  void Unlink(size_t event) {
    const Event& e = events_[event];
    events_[e.previous].next = e.next;
    if (e.next != kNone) events_[e.next].previous = e.previous;
  }
  void Relink(size_t event) {
    const Event& e = events_[event];
    events_[e.previous].next = event;
    if (e.next != kNone) events_[e.next].previous = event;
  }

  std::vector<Event> events_;
  std::vector<size_t> call_;
  std::vector<size_t> completion_;
};

bool IsUnknown(const Operation& operation) { return operation.outcome != Operation::Outcome::kOk; }

class Search {
 public:
  Search(const Model& model, const std::vector<Operation>& operations)
      : model_(model), operations_(operations), events_(operations) {
    here_.state = model.initial;
    for (const Operation& operation : operations) required_ += IsUnknown(operation) ? 0 : 1;
  }

  enum class End : uint8_t { kFound, kImpossible, kGivenUp };

  End Run() {
    size_t event = events_.first();
    while (done_ < required_) {
      if (event != kNone && !events_.is_completion(event)) {
        event = TryCall(event);
        continue;
      }
      // A completion whose operation has not taken effect (or the end): go back.
      if (event != kNone && taken_.size() + 1 > deepest_) {
        deepest_ = taken_.size() + 1;
        culprit_ = events_.operation(event);
      }
      if (taken_.empty()) return End::kImpossible;
      event = Undo();
      if (tried_.size() > kMaxConfigurations) return End::kGivenUp;
    }
    return End::kFound;
  }

  // The operation that could not be placed in the longest attempt.
  size_t culprit() const { return culprit_; }

 private:
  struct Step {
    size_t operation;
    Configuration before;
  };

  size_t TryCall(size_t event) {
    const size_t index = events_.operation(event);
    const Operation& operation = operations_[index];
    const std::optional<int64_t> state = model_.next(here_.state, operation);
    if (!state) return events_.next(event);
    const Configuration after = {here_.hash_a ^ Mix64(index + 1), here_.hash_b ^ Mix64(~index),
                                 *state};
    if (!tried_.insert(after).second) return events_.next(event);
    taken_.push_back({index, here_});
    here_ = after;
    done_ += IsUnknown(operation) ? 0 : 1;
    events_.Lift(index);
    return events_.first();
  }

  size_t Undo() {
    const Step step = taken_.back();
    taken_.pop_back();
    here_ = step.before;
    done_ -= IsUnknown(operations_[step.operation]) ? 0 : 1;
    events_.PutBack(step.operation);
    return events_.next(events_.call(step.operation));
  }

  const Model& model_;
  const std::vector<Operation>& operations_;
  Events events_;
  Configuration here_;
  size_t required_ = 0;
  size_t done_ = 0;
  std::vector<Step> taken_;
  std::unordered_set<Configuration, HashOf> tried_;
  size_t deepest_ = 0;  // one more than the operations placed in the longest attempt
  size_t culprit_ = 0;
};

// A counter that ends above the sum of all that was added has counted something twice. The one
// operation that fits nowhere does not tell: others may have been under way beside it.
Verdict NameOf(const Operation& culprit, const std::vector<Operation>& operations) {
  int64_t added = 0;
  int64_t highest = 0;
  bool written = culprit.result == kAbsent;
  for (const Operation& other : operations) {
    if (other.kind == Operation::Kind::kAdd) added += other.argument;
    if (!IsUnknown(other)) highest = std::max(highest, other.result);
    if (other.kind == Operation::Kind::kWrite && other.argument == culprit.result) written = true;
  }
  if (added > 0) return highest > added ? Verdict::kWriteDoubled : Verdict::kWriteLost;
  return written ? Verdict::kWriteLost : Verdict::kWrongReply;
}

void Explain(size_t culprit, const std::vector<Operation>& operations,
             LinearizabilityResult& result) {
  const Operation& operation = operations[culprit];
  result.verdict = NameOf(operation, operations);
  result.at_ns = operation.completed_ns;
  const int64_t epoch = operations.front().invoked_ns;
  result.explanation =
      absl::StrCat("no order of the operations explains: ", operation.ToString(epoch));
  for (size_t i = 0; i < operations.size(); ++i) {
    if (operations[i].invoked_ns <= operation.completed_ns && i != culprit)
      result.context.push_back(operations[i]);
  }
  if (result.context.size() >= kContext)
    result.context.erase(result.context.begin(),
                         result.context.end() - static_cast<std::ptrdiff_t>(kContext - 1));
  result.context.push_back(operation);
}

}  // namespace

Model RegisterModel() {
  return {kAbsent, [](int64_t state, const Operation& operation) -> std::optional<int64_t> {
            if (operation.kind == Operation::Kind::kWrite) return operation.argument;
            if (operation.result == state) return state;
            return std::nullopt;
          }};
}

Model CounterModel() {
  return {kAbsent, [](int64_t state, const Operation& operation) -> std::optional<int64_t> {
            if (operation.kind == Operation::Kind::kRead)
              return operation.result == state ? std::optional<int64_t>(state) : std::nullopt;
            const int64_t sum = (state == kAbsent ? 0 : state) + operation.argument;
            if (IsUnknown(operation) || operation.result == sum) return sum;
            return std::nullopt;
          }};
}

LinearizabilityResult CheckLinearizable(const Model& model, std::vector<Operation> operations) {
  operations.erase(
      std::remove_if(operations.begin(), operations.end(),
                     [](const Operation& operation) {
                       return operation.outcome == Operation::Outcome::kFail ||
                              (IsUnknown(operation) && operation.kind == Operation::Kind::kRead);
                     }),
      operations.end());
  for (Operation& operation : operations) {
    if (IsUnknown(operation)) operation.completed_ns = kNever;
  }
  LinearizabilityResult result;
  Search search(model, operations);
  const Search::End end = search.Run();
  result.inconclusive = end == Search::End::kGivenUp;
  result.linearizable = end != Search::End::kImpossible;
  if (!result.linearizable) Explain(search.culprit(), operations, result);
  return result;
}

}  // namespace liveexec::harness
