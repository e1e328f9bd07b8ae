// Real programs that fail between exec and commit: the same process goes on as the old program,
// with its connections and its state, and says why.
#include "handoff/rollback.h"

#include <signal.h>
#include <stdio.h>

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/testing/victim_process.h"

namespace liveexec {
namespace {

using ::testing::HasSubstr;

struct Failure {
  const char* name;   // of the test
  const char* fault;  // misbehaviour.h
  const char* code;
  const char* sentence;  // a part of it
  const char* phase;
};

constexpr char kReceiving[] = "receiving", kRehydrating[] = "rehydrating";

const Failure kFailures[] = {
    {"ThrowsInAStaticConstructor", "constructor:throw", "E_CRASH", "thrown on purpose", kReceiving},
    {"CrashesInAStaticConstructor", "constructor:null", "E_CRASH", "SIGSEGV", kReceiving},
    {"ExitsInAStaticConstructor", "constructor:exit0", "E_EXIT", "exit", kReceiving},
    {"HangsInAStaticConstructor", "constructor:hang", "E_TIMEOUT", "in time", kReceiving},
    {"ReturnsFromMain", "main:return", "E_EXIT", "exit", kReceiving},
    {"ExitsWithSuccess", "main:exit0", "E_EXIT", "exit", kReceiving},
    {"ExitsWithFailure", "main:exit7", "E_EXIT", "exit", kReceiving},
    {"QuickExits", "main:quick", "E_EXIT", "exit", kReceiving},
    {"ThrowsInMain", "main:throw", "E_CRASH", "thrown on purpose", kReceiving},
    {"ThrowsSomethingElseInMain", "main:int", "E_CRASH", "SIGABRT", kReceiving},
    {"CrashesInAThread", "main:thread", "E_CRASH", "SIGSEGV", kReceiving},
    {"ForgetsToRegisterAComponent", "main:forget", "E_SCHEMA", "server", kRehydrating},
    {"WritesToNull", "rehydrate:null", "E_CRASH", "SIGSEGV", kRehydrating},
    {"Aborts", "rehydrate:abort", "E_CRASH", "SIGABRT", kRehydrating},
    {"DividesByZero", "rehydrate:fpe", "E_CRASH", "SIGFPE", kRehydrating},
    {"RunsAnInvalidInstruction", "rehydrate:ill", "E_CRASH", "SIGILL", kRehydrating},
    {"ReadsPastTheEndOfAMapping", "rehydrate:bus", "E_CRASH", "SIGBUS", kRehydrating},
    {"OverflowsItsStack", "rehydrate:stack", "E_CRASH", "SIGSEGV", kRehydrating},
    {"Hangs", "rehydrate:hang", "E_TIMEOUT", "component server", kRehydrating},
    {"Exits", "rehydrate:exit0", "E_EXIT", "component server", kRehydrating},
    {"Throws", "rehydrate:throw", "E_EXCEPTION", "thrown on purpose", kRehydrating},
    {"ThrowsThroughNoexcept", "rehydrate:terminate", "E_CRASH", "nobody catches", kRehydrating},
    {"ReturnsAnError", "rehydrate:error", "E_REHYDRATE", "returned on purpose", kRehydrating},
    {"FailsWithItsArgumentsOverwritten", "rehydrate:title", "E_REHYDRATE", "title", kRehydrating},
    {"ReturnsAnErrorWithACode", "rehydrate:coded", "E_TEST", "coded", kRehydrating},
    {"FailsBeforeItTookItsFds", "half:error", "E_REHYDRATE", "returned on purpose", kRehydrating},
    {"CrashesBeforeItTookItsFds", "half:null", "E_CRASH", "SIGSEGV", kRehydrating},
    {"FailsItsSelfCheck", "check:error", "E_SELFCHECK", "returned on purpose", "self-checking"},
    {"CrashesInItsSelfCheck", "check:null", "E_CRASH", "component server", "self-checking"},
};

class RollbackTest : public ::testing::TestWithParam<Failure> {};

TEST_P(RollbackTest, TheOldProgramGoesOnWhenTheNewOne) {
  const Failure& failure = GetParam();
#if defined(__SANITIZE_THREAD__)
  if (std::string_view(failure.code) == "E_TIMEOUT") {
    GTEST_SKIP()
        << "the sanitizer puts a timer's signal off until the next call that it intercepts";
  }
#endif
  VictimProcess victim;
  VictimClient client = victim.Connect();
  ASSERT_EQ(client.Ask("next"), "1");

  JournalEntry entry = victim.Upgrade(victim.Candidate("good", failure.fault));
  EXPECT_EQ(OutcomeName(entry.outcome), "rolled back") << entry.message;
  EXPECT_EQ(entry.code, failure.code) << entry.message;
  EXPECT_THAT(entry.message, HasSubstr(failure.sentence));
  EXPECT_EQ(entry.failed_phase, failure.phase) << entry.message;
  EXPECT_EQ(entry.pid, static_cast<uint32_t>(victim.pid()));
  EXPECT_GT(entry.blackout_ns, 0);

  EXPECT_TRUE(victim.running());
  EXPECT_EQ(client.Ask("next"), "2") << "the connection of before";
  EXPECT_EQ(victim.Connect().Ask("next"), "3") << "a new connection";
  EXPECT_EQ(client.Ask("generation"), "0");

  entry = victim.Upgrade(victim.Candidate("good"));
  EXPECT_EQ(OutcomeName(entry.outcome), "committed") << entry.code << " " << entry.message;
  EXPECT_EQ(client.Ask("next"), "4");
  EXPECT_EQ(client.Ask("generation"), "1");
  std::vector<JournalEntry> history = victim.History();
  ASSERT_EQ(history.size(), 2u);
  EXPECT_EQ(history[0].code, failure.code);
  EXPECT_EQ(history[1].upgrade, 2u);
}

INSTANTIATE_TEST_SUITE_P(Rollback, RollbackTest, ::testing::ValuesIn(kFailures),
                         [](const auto& failure) { return std::string(failure.param.name); });

TEST(Rollback, IsPossibleManyTimesInARow) {
  VictimProcess victim;
  VictimClient client = victim.Connect();
  // Different files: one that fails again and again is denied after a while.
  for (int round = 1; round <= 12; ++round) {
    const char* fault = round % 2 == 0 ? "rehydrate:null" : "check:error";
    JournalEntry entry = victim.Upgrade(victim.Candidate("good", fault));
    ASSERT_EQ(OutcomeName(entry.outcome), "rolled back") << entry.code << " " << entry.message;
    ASSERT_EQ(client.Ask("next"), std::to_string(round));
  }
  EXPECT_EQ(OutcomeName(victim.Upgrade(victim.Candidate("good")).outcome), "committed");
  EXPECT_EQ(client.Ask("next"), "13");
}

TEST(Rollback, AfterwardsTheDefaultBinaryIsStillTheOneThatWasStarted) {
  // As an installer does it: a new build is renamed over the old one.
  VictimProcess victim;
  VictimClient client = victim.Connect();
  std::string bad = victim.Candidate("good", "rehydrate:null");
  ASSERT_EQ(rename(bad.c_str(), victim.program().c_str()), 0);
  JournalEntry entry = victim.Upgrade("");
  ASSERT_EQ(OutcomeName(entry.outcome), "rolled back") << entry.code << " " << entry.message;
  ASSERT_EQ(entry.binary, victim.program());
  victim.Candidate("good");  // Renames a fixed build over it.
  entry = victim.Upgrade("");
  EXPECT_EQ(entry.binary, victim.program());
  EXPECT_EQ(OutcomeName(entry.outcome), "committed") << entry.code << " " << entry.message;
  EXPECT_EQ(client.Ask("next"), "1");
}

TEST(Rollback, AfterwardsTheDefaultBinaryIsThePathAlsoWhenTheOldFileWasMovedAway) {
  // As another installer does it: the old build is kept under another name.
  VictimProcess victim;
  VictimClient client = victim.Connect();
  std::string bad = victim.Candidate("good", "rehydrate:null");
  ASSERT_EQ(rename(victim.program().c_str(), (victim.program() + ".old").c_str()), 0);
  ASSERT_EQ(rename(bad.c_str(), victim.program().c_str()), 0);
  ASSERT_EQ(OutcomeName(victim.Upgrade("").outcome), "rolled back");
  victim.Candidate("good");
  JournalEntry entry = victim.Upgrade("");
  EXPECT_EQ(entry.binary, victim.program());
  EXPECT_EQ(OutcomeName(entry.outcome), "committed") << entry.code << " " << entry.message;
}

TEST(Rollback, NothingIsArmedInAProgramThatWasStartedFresh) {
  EXPECT_FALSE(RollbackArmed());
  EXPECT_EQ(RollbackRecord(), nullptr);
  RollBack(absl::InternalError("nothing to go back to"));  // Returns.
  DisarmRollback();
  struct sigaction action;
  sigaction(SIGSEGV, nullptr, &action);
  void (*handler)(int) = action.sa_handler;
  DisarmRollback();
  sigaction(SIGSEGV, nullptr, &action);
  EXPECT_EQ(action.sa_handler, handler) << "the application's own handlers are left alone";
}

}  // namespace
}  // namespace liveexec
