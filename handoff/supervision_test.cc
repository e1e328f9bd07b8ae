#include "handoff/supervision.h"

#include <gtest/gtest.h>

#include "handoff/candidate.h"

namespace liveexec {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr absl::Duration kProbation = absl::Seconds(60);

JournalEntry Entry(Outcome outcome) {
  return {.binary = "/bin/two", .binary_identity = "1:2:3:4:5", .outcome = outcome};
}

Journal WithEntries(std::initializer_list<Outcome> outcomes) {
  Journal journal;
  for (Outcome outcome : outcomes) journal.Add(Entry(outcome));
  return journal;
}

TEST(ChargeEarlyEndTest, AProgramThatEndedSoonAfterItsUpgradeHasFailed) {
  Journal journal = WithEntries({Outcome::kCommitted, Outcome::kAbandoned});
  ChargeEarlyEnd(journal, 100 * kSecond, 107 * kSecond, kProbation);
  ASSERT_EQ(journal.entries().size(), 2u);
  EXPECT_EQ(journal.entries()[0].code, "E_DIED");
  EXPECT_EQ(journal.entries()[0].outcome, Outcome::kCommitted);
  EXPECT_NE(journal.entries()[0].message.find(" 7 s "), std::string::npos);
  EXPECT_EQ(journal.entries()[1].code, "") << "the program that served was not this one";
}

TEST(ChargeEarlyEndTest, AProgramThatServedForLongEnoughHasNot) {
  Journal journal = WithEntries({Outcome::kCommitted});
  ChargeEarlyEnd(journal, 100 * kSecond, 160 * kSecond, kProbation);
  EXPECT_EQ(journal.entries()[0].code, "");
}

TEST(ChargeEarlyEndTest, AnOldProgramAfterARollbackIsNotCharged) {
  for (Outcome outcome : {Outcome::kRolledBack, Outcome::kResurrected}) {
    Journal journal = WithEntries({Outcome::kCommitted, outcome});
    ChargeEarlyEnd(journal, 100 * kSecond, 101 * kSecond, kProbation);
    EXPECT_EQ(journal.entries()[0].code, "");
    EXPECT_EQ(journal.entries()[1].code, "");
  }
}

TEST(ChargeEarlyEndTest, IsContentWithNoUpgradeAtAll) {
  Journal journal;
  ChargeEarlyEnd(journal, 0, 0, kProbation);
  EXPECT_TRUE(journal.entries().empty());
}

TEST(ChargeEarlyEndTest, AClockThatWasSetBackMakesNoProgramOld) {
  Journal journal = WithEntries({Outcome::kCommitted});
  ChargeEarlyEnd(journal, 100 * kSecond, 50 * kSecond, kProbation);
  EXPECT_EQ(journal.entries()[0].code, "E_DIED");
}

TEST(ChargeUndecidedTest, AProgramThatCommittedAndEndedHasFailed) {
  Journal journal;
  ChargeUndecided(journal, Entry(Outcome::kAbandoned), {.phase = Phase::kCommitted}, true);
  ASSERT_EQ(journal.entries().size(), 1u);
  EXPECT_EQ(journal.entries()[0].outcome, Outcome::kCommitted);
  EXPECT_EQ(journal.entries()[0].code, "E_DIED");
}

TEST(ChargeUndecidedTest, AnEndBeforeTheCommitIsToldAndNotCharged) {
  Journal journal;
  for (int i = 0; i < 5; ++i) {
    ChargeUndecided(journal, Entry(Outcome::kAbandoned), {.phase = Phase::kQuiescing}, false);
  }
  EXPECT_EQ(journal.entries()[0].outcome, Outcome::kAbandoned);
  EXPECT_EQ(journal.entries()[0].code, "E_KILLED");
  EXPECT_EQ(journal.entries()[0].failed_phase, "quiescing");
  EXPECT_EQ(DeniedForNs(journal, "1:2:3:4:5", kSecond), 0);
}

TEST(DeniedForTest, WhatAnUpgradeEndedWithBeforeTheBinaryRanIsNotCharged) {
  for (const char* code : {"E_BLACKOUT", "E_NOMEM", "E_FD", "E_EXPORT", "E_CANCELLED", "E_GUARD",
                           "E_MEMORY", "E_EXCEPTION"}) {
    Journal journal;
    for (int i = 0; i < 5; ++i) {
      JournalEntry entry = Entry(Outcome::kAbandoned);
      entry.failed_phase = "rehearsing";
      entry.code = code;
      journal.Add(entry);
    }
    EXPECT_EQ(DeniedForNs(journal, "1:2:3:4:5", kSecond), 0) << code;
  }
  Journal journal;
  for (int i = 0; i < 5; ++i) {
    JournalEntry entry = Entry(Outcome::kAbandoned);
    entry.failed_phase = "rehearsing";
    entry.code = "E_REHEARSAL";
    journal.Add(entry);
  }
  EXPECT_GT(DeniedForNs(journal, "1:2:3:4:5", kSecond), 0);
}

TEST(ChargeEarlyEndTest, ThreeEarlyEndsInARowDenyTheBinary) {
  Journal journal;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(DeniedForNs(journal, "1:2:3:4:5", 2 * kSecond), 0) << i;
    journal.Add(Entry(Outcome::kCommitted));
    ChargeEarlyEnd(journal, kSecond, 2 * kSecond, kProbation);
  }
  EXPECT_GT(DeniedForNs(journal, "1:2:3:4:5", 2 * kSecond), 0);
}

}  // namespace
}  // namespace liveexec
