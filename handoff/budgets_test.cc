#include "handoff/budgets.h"

#include <gtest/gtest.h>

namespace liveexec {
namespace {

JournalEntry Entry(Outcome outcome, int64_t blackout_ns) {
  return {.outcome = outcome, .blackout_ns = blackout_ns};
}

TEST(ShortestRecentBlackoutTest, IsNothingBeforeTheFirstUpgrade) {
  Journal journal;
  EXPECT_EQ(ShortestRecentBlackoutNs(journal), 0);
  journal.Add(Entry(Outcome::kRolledBack, 7));
  EXPECT_EQ(ShortestRecentBlackoutNs(journal), 0);
}

TEST(ShortestRecentBlackoutTest, OneStallDoesNotCountAgainstTheUpgradesThatFollow) {
  Journal journal;
  journal.Add(Entry(Outcome::kCommitted, 5));
  journal.Add(Entry(Outcome::kCommitted, 11'000'000'000));
  EXPECT_EQ(ShortestRecentBlackoutNs(journal), 5);
}

TEST(ShortestRecentBlackoutTest, WhatLiesFurtherBackNoLongerCounts) {
  Journal journal;
  journal.Add(Entry(Outcome::kCommitted, 1));
  for (int i = 0; i < 5; ++i) {
    journal.Add(Entry(Outcome::kCommitted, 100 + i));
    journal.Add(Entry(Outcome::kAbandoned, 2));
  }
  EXPECT_EQ(ShortestRecentBlackoutNs(journal), 100);
}

}  // namespace
}  // namespace liveexec
