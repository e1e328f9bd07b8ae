#include "tests/harness/measure.h"

#include <gtest/gtest.h>

namespace liveexec::harness {
namespace {

TEST(PercentileTest, UsesTheNearestRank) {
  EXPECT_EQ(Percentile({}, 50), 0);
  EXPECT_EQ(Percentile({7}, 1), 7);
  EXPECT_EQ(Percentile({4, 1, 3, 2}, 50), 2);
  EXPECT_EQ(Percentile({4, 1, 3, 2}, 51), 3);
  EXPECT_EQ(Percentile({4, 1, 3, 2}, 100), 4);
}

TEST(LogHistogramTest, IsWithinOnePart64OfTheExactPercentile) {
  LogHistogram histogram;
  std::vector<int64_t> samples;
  for (int64_t value = 0; value < 3'000'000; value += 37) {
    histogram.Add(value);
    samples.push_back(value);
  }
  for (const double percent : {0.1, 10.0, 50.0, 99.0, 99.9, 100.0}) {
    const double exact = static_cast<double>(Percentile(samples, percent));
    EXPECT_GE(static_cast<double>(histogram.Percentile(percent)), exact);
    EXPECT_LE(static_cast<double>(histogram.Percentile(percent)), exact * (1 + 1.0 / 64) + 1);
  }
  EXPECT_EQ(histogram.max(), samples.back());
}

TEST(LogHistogramTest, MergesCounts) {
  LogHistogram one;
  LogHistogram two;
  one.Add(5);
  two.Add(int64_t{1} << 61);
  one.Merge(two);
  EXPECT_EQ(one.count(), 2u);
  EXPECT_EQ(one.Percentile(50), 5);
  EXPECT_EQ(one.Percentile(100), int64_t{1} << 61);
}

TEST(GapRecorderTest, MeasuresTheGapThatTheWindowsEndCutsThrough) {
  GapRecorder gaps;
  gaps.Reply(100);
  gaps.Reply(900);  // before the window
  gaps.Open();
  gaps.Reply(1000);
  gaps.Close();
  EXPECT_FALSE(gaps.closed());  // the gap is still going on
  gaps.Reply(1700);
  EXPECT_TRUE(gaps.closed());
  gaps.Reply(9000);  // after the window
  EXPECT_EQ(gaps.longest_ns(), 700);
}

}  // namespace
}  // namespace liveexec::harness
