// A sample of what ./dev torture does in full: the sweep, and kill -9 at random moments.
#include "tests/faults/sweep.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "absl/strings/str_join.h"
#include "tests/faults/random_kill.h"
#include "tests/harness/random.h"

namespace liveexec::faults {
namespace {

// The same sample in every run, unless LIVEEXEC_SEED says otherwise: a change is not to fail for a
// fault that the one before it did not meet.
uint64_t Seed() { return getenv("LIVEEXEC_SEED") != nullptr ? harness::RunSeed() : 1; }

constexpr size_t kFaults = 40;
constexpr uint64_t kKills = 10;

TEST(SweepTest, EveryFaultEndsAsPromised) {
  const std::vector<Fault> all = PlanSweep(1);
  ASSERT_GT(all.size(), 10 * kFaults);
  for (const Fault& fault : Sample(all, kFaults, Seed())) {
    const CellResult result = RunFault(fault, 1);
    EXPECT_TRUE(result.ok()) << result.cell << "\n  " << absl::StrJoin(result.problems, "\n  ");
  }
}

TEST(RandomKillTest, LosesNothingBetweenSealAndCommit) {
  for (uint64_t i = 0; i < kKills; ++i) {
    const CellResult result = KillAtRandom(i % 2 == 0 ? 1 : 4, Seed() + i);
    EXPECT_TRUE(result.ok()) << result.cell << "\n  " << absl::StrJoin(result.problems, "\n  ");
  }
}

}  // namespace
}  // namespace liveexec::faults
