#include "handoff/phase.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace liveexec {
namespace {

using Pair = std::pair<std::string, std::string>;

Phase PhaseOf(int number) { return static_cast<Phase>(number); }

// What DESIGN.md, section 2, draws: written down a second time, by name.
std::set<Pair> AllowedTransitions() {
  std::set<Pair> allowed;
  const std::vector<std::string> way = {
      "idle",      "checking",    "rehearsing",    "guarding",  "quiescing",
      "exporting", "sealing",     "sending",       "executing", "receiving",
      "verifying", "rehydrating", "self-checking", "committed", "idle",
  };
  for (size_t i = 0; i + 1 < way.size(); ++i) allowed.insert({way[i], way[i + 1]});
  for (const char* before_exec : {"checking", "rehearsing", "guarding", "quiescing", "exporting",
                                  "sealing", "sending", "executing"}) {
    allowed.insert({before_exec, "resuming"});
  }
  for (const char* after_exec : {"receiving", "verifying", "rehydrating", "self-checking"}) {
    allowed.insert({after_exec, "rolling back"});
  }
  allowed.insert({"resuming", "idle"});
  allowed.insert({"rolling back", "receiving"});
  return allowed;
}

TEST(Phase, ExactlyTheTransitionsOfTheDesignAreAllowed) {
  std::set<Pair> allowed = AllowedTransitions();
  for (int from = 0; from < kPhaseCount; ++from) {
    for (int to = 0; to < kPhaseCount; ++to) {
      Pair pair(PhaseName(PhaseOf(from)), PhaseName(PhaseOf(to)));
      EXPECT_EQ(MayFollow(PhaseOf(from), PhaseOf(to)), allowed.count(pair) == 1)
          << pair.second << " after " << pair.first;
    }
  }
}

TEST(Phase, NamesAreDifferentAndLeadBackToThePhase) {
  std::set<std::string> names;
  for (int number = 0; number < kPhaseCount; ++number) {
    std::string name(PhaseName(PhaseOf(number)));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(PhaseFromName(name), PhaseOf(number));
  }
  EXPECT_EQ(PhaseFromName("dancing"), std::nullopt);
  EXPECT_EQ(PhaseFromName(""), std::nullopt);
}

TEST(Phase, AFailureBeforeExecAbandonsAndOneAfterItRollsBack) {
  const std::set<std::string> after_exec = {"receiving", "verifying", "rehydrating",
                                            "self-checking", "rolling back"};
  for (int number = 0; number < kPhaseCount; ++number) {
    std::string name(PhaseName(PhaseOf(number)));
    std::optional<Outcome> outcome = OutcomeOfFailureIn(PhaseOf(number));
    if (name == "idle" || name == "committed") {
      EXPECT_EQ(outcome, std::nullopt) << name;
    } else {
      EXPECT_EQ(outcome, after_exec.count(name) == 1 ? Outcome::kRolledBack : Outcome::kAbandoned)
          << name;
    }
  }
}

TEST(PhaseMachine, WritesDownWhenEachPhaseBeganAndHowLongItTook) {
  PhaseMachine machine;
  JournalEntry entry;
  machine.Enter(Phase::kChecking, entry, 1000);
  machine.Enter(Phase::kRehearsing, entry, 1700);
  machine.Enter(Phase::kResuming, entry, 2000);
  EXPECT_EQ(machine.phase(), Phase::kResuming);
  machine.Enter(Phase::kIdle, entry, 2100);
  ASSERT_EQ(entry.phases.size(), 3u);
  const PhaseTime expected[] = {
      {"checking", 1000, 700}, {"rehearsing", 1700, 300}, {"resuming", 2000, 100}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(entry.phases[i].phase, expected[i].phase);
    EXPECT_EQ(entry.phases[i].start_ns, expected[i].start_ns);
    EXPECT_EQ(entry.phases[i].duration_ns, expected[i].duration_ns);
  }
}

TEST(PhaseMachine, EndsAPhaseThatTheProgramBeforeBegan) {
  JournalEntry entry;
  entry.phases.push_back({"sealing", MonotonicNs() - 5'000'000, 0});
  PhaseMachine machine(Phase::kSealing, true);
  machine.Enter(Phase::kSending, entry);
  EXPECT_GE(entry.phases[0].duration_ns, 5'000'000);
  machine.Stop(entry);
  EXPECT_GE(entry.phases[1].duration_ns, 0);
  int64_t stopped = entry.phases[1].duration_ns;
  machine.Stop(entry);
  EXPECT_EQ(entry.phases[1].duration_ns, stopped) << "the second stop has nothing to end";
  EXPECT_EQ(machine.phase(), Phase::kSending);
}

TEST(PhaseMachine, StopsWithoutHarmWhenNothingWasEntered) {
  JournalEntry entry;
  PhaseMachine machine;
  machine.Stop(entry);
  EXPECT_TRUE(entry.phases.empty());
  PhaseMachine claims_a_phase(Phase::kSealing, true);
  claims_a_phase.Stop(entry);
  EXPECT_TRUE(entry.phases.empty());
}

TEST(PhaseMachineDeathTest, AForbiddenTransitionIsABugAndAborts) {
  PhaseMachine machine;
  JournalEntry entry;
  EXPECT_DEATH(machine.Enter(Phase::kExecuting, entry), "executing may not follow idle");
}

}  // namespace
}  // namespace liveexec
