#include "tests/harness/linearizability.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/harness/random.h"

namespace liveexec::harness {
namespace {

using Kind = Operation::Kind;
using Outcome = Operation::Outcome;

Operation Op(int client, Kind kind, int64_t argument, int64_t result, int64_t from, int64_t to) {
  return {.client = client,
          .key = "k",
          .kind = kind,
          .argument = argument,
          .outcome = to == kNever ? Outcome::kUnknown : Outcome::kOk,
          .result = result,
          .invoked_ns = from,
          .completed_ns = to};
}
Operation Read(int64_t result, int64_t from, int64_t to) {
  return Op(1, Kind::kRead, 0, result, from, to);
}
Operation Write(int64_t value, int64_t from, int64_t to) {
  return Op(2, Kind::kWrite, value, 0, from, to);
}
Operation Add(int64_t sum, int64_t from, int64_t to) { return Op(3, Kind::kAdd, 1, sum, from, to); }

TEST(LinearizabilityTest, AcceptsAnEmptyHistoryAndOneOfUnknownsOnly) {
  EXPECT_TRUE(CheckLinearizable(RegisterModel(), {}).linearizable);
  EXPECT_TRUE(CheckLinearizable(CounterModel(), {Add(0, 1, kNever)}).linearizable);
}

TEST(LinearizabilityTest, AcceptsAReadOfEitherValueDuringAWrite) {
  EXPECT_TRUE(CheckLinearizable(RegisterModel(), {Write(1, 0, 10), Write(2, 20, 40),
                                                  Read(1, 25, 30), Read(2, 31, 35)})
                  .linearizable);
  EXPECT_FALSE(CheckLinearizable(RegisterModel(), {Write(1, 0, 10), Write(2, 20, 40),
                                                   Read(2, 25, 30), Read(1, 31, 35)})
                   .linearizable);
}

TEST(LinearizabilityTest, NamesALostWrite) {
  const auto result = CheckLinearizable(
      RegisterModel(), {Write(1, 0, 10), Write(2, 20, 30), Read(1, 40, 50), Write(3, 60, 70)});
  EXPECT_FALSE(result.linearizable);
  EXPECT_EQ(result.verdict, Verdict::kWriteLost);
  EXPECT_EQ(result.at_ns, 50);
  ASSERT_FALSE(result.context.empty());
  EXPECT_EQ(result.context.back().kind, Kind::kRead);
}

TEST(LinearizabilityTest, NamesAValueThatNobodyWrote) {
  const auto result = CheckLinearizable(RegisterModel(), {Write(1, 0, 10), Read(7, 40, 50)});
  EXPECT_FALSE(result.linearizable);
  EXPECT_EQ(result.verdict, Verdict::kWrongReply);
}

TEST(LinearizabilityTest, NamesALostKey) {
  const auto result = CheckLinearizable(RegisterModel(), {Write(1, 0, 10), Read(kAbsent, 40, 50)});
  EXPECT_FALSE(result.linearizable);
  EXPECT_EQ(result.verdict, Verdict::kWriteLost);
}

TEST(LinearizabilityTest, NamesAnAddThatWasLostOrDoubled) {
  const auto lost = CheckLinearizable(CounterModel(), {Add(1, 0, 1), Add(2, 2, 3), Add(2, 4, 5)});
  EXPECT_FALSE(lost.linearizable);
  EXPECT_EQ(lost.verdict, Verdict::kWriteLost);
  const auto doubled = CheckLinearizable(CounterModel(), {Add(1, 0, 1), Add(3, 2, 3)});
  EXPECT_FALSE(doubled.linearizable);
  EXPECT_EQ(doubled.verdict, Verdict::kWriteDoubled);
}

TEST(LinearizabilityTest, LetsAnUnknownAddHappenLateOrNever) {
  EXPECT_TRUE(CheckLinearizable(CounterModel(), {Add(0, 0, kNever), Add(1, 2, 3), Add(2, 4, 5)})
                  .linearizable);
  EXPECT_TRUE(CheckLinearizable(CounterModel(), {Add(0, 0, kNever), Add(1, 2, 3), Add(3, 4, 5)})
                  .linearizable);
  EXPECT_FALSE(CheckLinearizable(CounterModel(), {Add(0, 0, kNever), Add(1, 2, 3), Add(4, 4, 5)})
                   .linearizable);
}

TEST(LinearizabilityTest, LetsAnUnknownWriteHappenLateOrNever) {
  const Operation unknown = Write(2, 5, kNever);
  EXPECT_TRUE(CheckLinearizable(RegisterModel(),
                                {Write(1, 0, 1), unknown, Read(1, 10, 11), Read(2, 20, 21)})
                  .linearizable);
  EXPECT_TRUE(
      CheckLinearizable(RegisterModel(), {Write(1, 0, 1), unknown, Read(1, 10, 11)}).linearizable);
  // It happens once: what it overwrote does not come back.
  const auto result = CheckLinearizable(
      RegisterModel(), {Write(1, 0, 1), unknown, Read(2, 10, 11), Read(1, 20, 21)});
  EXPECT_FALSE(result.linearizable);
  EXPECT_EQ(result.verdict, Verdict::kWriteLost);
  // And not before it was asked for.
  EXPECT_FALSE(
      CheckLinearizable(RegisterModel(), {Write(1, 0, 1), Read(2, 2, 3), unknown}).linearizable);
}

TEST(LinearizabilityTest, AFailedWriteHasNoEffect) {
  Operation failed = Write(2, 5, 6);
  failed.outcome = Outcome::kFail;
  EXPECT_TRUE(
      CheckLinearizable(RegisterModel(), {Write(1, 0, 1), failed, Read(1, 10, 11)}).linearizable);
  EXPECT_FALSE(
      CheckLinearizable(RegisterModel(), {Write(1, 0, 1), failed, Read(2, 10, 11)}).linearizable);
}

// Whether some order of `left` (each once; unknown ones also not at all) explains what was seen:
// all of them are tried.
bool SomeOrderFits(const Model& model, int64_t state, std::vector<Operation> left) {
  const bool only_unknown = std::all_of(left.begin(), left.end(), [](const Operation& operation) {
    return operation.outcome == Outcome::kUnknown;
  });
  if (only_unknown) return true;
  for (size_t i = 0; i < left.size(); ++i) {
    const auto ended_before = [&](const Operation& other) {
      return other.completed_ns < left[i].invoked_ns;
    };
    if (std::any_of(left.begin(), left.end(), ended_before)) continue;
    const auto next = model.next(state, left[i]);
    std::vector<Operation> rest = left;
    rest.erase(rest.begin() + static_cast<ptrdiff_t>(i));
    if (next && SomeOrderFits(model, *next, rest)) return true;
    if (left[i].outcome == Outcome::kUnknown && SomeOrderFits(model, state, rest)) return true;
  }
  return false;
}

TEST(LinearizabilityTest, AgreesWithTryingAllOrders) {
  int refused = 0;
  for (uint64_t seed = 1; seed <= 1500; ++seed) {
    Random random(seed);
    const bool counter = seed % 2 == 0;
    std::vector<Operation> operations;
    for (int i = 0; i < 6; ++i) {
      // Invocations at even, completions at odd times: none are at once.
      const auto from = static_cast<int64_t>(2 * random.Below(40));
      const bool unknown = random.Below(5) == 0;
      const int64_t to = unknown ? kNever : from + 1 + static_cast<int64_t>(2 * random.Below(15));
      const auto value = static_cast<int64_t>(random.Below(3)) + 1;
      if (random.Below(2) == 0 && !unknown) {
        operations.push_back(Read(value, from, to));
      } else {
        operations.push_back(counter ? Add(value, from, to) : Write(value, from, to));
      }
    }
    const Model model = counter ? CounterModel() : RegisterModel();
    const bool fits = SomeOrderFits(model, model.initial, operations);
    refused += fits ? 0 : 1;
    EXPECT_EQ(CheckLinearizable(model, operations).linearizable, fits) << "seed " << seed;
  }
  EXPECT_GT(refused, 100);
  EXPECT_LT(refused, 1400);
}

// Histories made by running operations one after another at random moments within their intervals
// are linearizable by construction; changing one result makes them impossible.
TEST(LinearizabilityTest, AgreesWithHistoriesThatWereMadeFromAnOrder) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    std::vector<Operation> operations;
    int64_t sum = 0;
    for (int i = 0; i < 60; ++i) {
      const int64_t effect = i * 10;
      const auto from = effect - static_cast<int64_t>(random.Below(25));
      const auto to = effect + 1 + static_cast<int64_t>(random.Below(25));
      operations.push_back(Add(++sum, from, to));
    }
    EXPECT_TRUE(CheckLinearizable(CounterModel(), operations).linearizable) << "seed " << seed;
    operations[random.Below(operations.size())].result += 100;
    EXPECT_FALSE(CheckLinearizable(CounterModel(), operations).linearizable) << "seed " << seed;
  }
}

}  // namespace
}  // namespace liveexec::harness
