// A short form of ./dev mutants.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "tests/harness/mutants/catalogue.h"
#include "tests/harness/random.h"

namespace liveexec::harness {
namespace {

Verdict VerdictOn(const std::string& name) {
  const Programs programs{std::filesystem::current_path().string()};
  for (const Mutant& mutant : Mutants()) {
    if (mutant.name() != name) continue;
    const auto result = TryMutant(programs, mutant, RunSeed());
    if (!result.ok()) {
      ADD_FAILURE() << name << ": " << result.status();
      return Verdict::kUpgradeFailed;
    }
    for (const Anomaly& anomaly : result->anomalies)
      std::fprintf(stderr, "  %s\n", anomaly.ToString().c_str());
    return result->verdict();
  }
  ADD_FAILURE() << "no such mutant: " << name;
  return Verdict::kUpgradeFailed;
}

TEST(MutantsTest, TheGoodServersPass) {
  EXPECT_EQ(VerdictOn("echo/none"), Verdict::kInvisible);
  EXPECT_EQ(VerdictOn("demo/none"), Verdict::kInvisible);
}

TEST(MutantsTest, AByteThatIsLostIsNamed) {
  EXPECT_EQ(VerdictOn("echo/lose-byte"), Verdict::kByteLost);
}

TEST(MutantsTest, AConnectionThatIsDroppedIsNamed) {
  EXPECT_EQ(VerdictOn("echo/drop-connection"), Verdict::kConnectionLost);
}

TEST(MutantsTest, AProcessThatChangesItsPidIsNamed) {
  EXPECT_EQ(VerdictOn("echo/change-pid"), Verdict::kPidChanged);
}

TEST(MutantsTest, AnFdThatLeaksIsNamed) {
  EXPECT_EQ(VerdictOn("echo/leak-fd"), Verdict::kFdLeaked);
}

TEST(MutantsTest, AWriteThatIsLostIsNamed) {
  EXPECT_EQ(VerdictOn("demo/lose-write"), Verdict::kWriteLost);
}

TEST(MutantsTest, ATimerThatIsForgottenIsNamed) {
  EXPECT_EQ(VerdictOn("demo/forget-timer"), Verdict::kTimerForgotten);
}

}  // namespace
}  // namespace liveexec::harness
