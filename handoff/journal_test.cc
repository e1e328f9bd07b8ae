#include "handoff/journal.h"

#include <string>

#include "gtest/gtest.h"

namespace liveexec {
namespace {

TEST(Journal, KeepsTheNewestEntries) {
  Journal journal;
  for (uint64_t i = 1; i <= Journal::kMaxEntries + 3; ++i) journal.Add({.upgrade = i});
  ASSERT_EQ(journal.entries().size(), Journal::kMaxEntries);
  EXPECT_EQ(journal.entries().front().upgrade, 4u);
  EXPECT_EQ(journal.entries().back().upgrade, Journal::kMaxEntries + 3);
}

TEST(OutcomeName, NamesEachOutcome) {
  EXPECT_EQ(OutcomeName(Outcome::kAbandoned), "abandoned");
  EXPECT_EQ(OutcomeName(Outcome::kCommitted), "committed");
  EXPECT_EQ(OutcomeName(Outcome::kRolledBack), "rolled back");
  EXPECT_EQ(OutcomeName(Outcome::kResurrected), "resurrected");
}

}  // namespace
}  // namespace liveexec
