#include "tests/harness/linearizability.h"

#include <gtest/gtest.h>

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
