// The proof of the proofs: each cell of the matrix ends by showing that clients have lost nothing,
// that the server is as it was, and that it can be upgraded and stopped. Here servers do one thing
// wrong each, and the very same RunCell has to say so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <ostream>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/faults/cell.h"
#include "tests/faults/fault_run.h"
#include "tests/harness/temp_dir.h"

namespace liveexec::faults {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What the upgraded program does wrong as it begins to serve.
template <const char* plan>
Seen Provoke(FaultRun& run) {
  run.SetPlan(absl::StrCat("v2 upgrade ", plan));
  return run.Upgrade(FaultRun::Program("v2"));
}

// Asks the upgraded server to stop.
Seen StopAfterwards(FaultRun& run) {
  Seen seen = run.Upgrade(FaultRun::Program("v2"));
  kill(run.pid(), SIGTERM);
  return seen;
}

struct Row {
  const char* name;
  const char* problem;  // what RunCell has to say
  Cell cell;

  friend void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }
};

constexpr char kNothing[] = "nowhere nothing";
constexpr char kLoseByte[] = "clients lose-byte";
constexpr char kDoubleByte[] = "clients double-byte";
constexpr char kAlterByte[] = "clients alter-byte";
constexpr char kDrop[] = "clients drop";
constexpr char kDropIdle[] = "clients drop-idle";
constexpr char kMiscount[] = "activate miscount";
constexpr char kLeak[] = "activate leak";
constexpr char kLimit[] = "activate nofile 999";
constexpr char kUnlock[] = "activate unlock";
constexpr char kKillChild[] = "activate kill-child";
constexpr char kRefuseNext[] = "activate refuse-next";
constexpr char kCrash[] = "serving kill";

template <const char* plan>
Cell Committing() {
  return {"0", "Sabotaged", "B", "", Provoke<plan>};
}

const Row kRows[] = {
    {"LosesAByte", "bytes lost", Committing<kLoseByte>()},
    {"DoublesAByte", "1 doubled", Committing<kDoubleByte>()},
    {"AltersAByte", "1 foreign", Committing<kAlterByte>()},
    {"DropsAConnection", "4 of 5 connections kept", Committing<kDrop>()},
    {"DropsAnIdleConnection", "1 idle clients are dead", Committing<kDropIdle>()},
    {"LosesState", "the counter says", Committing<kMiscount>()},
    {"LeaksAnFd", "not as before: fds: +", Committing<kLeak>()},
    {"ChangesALimit", "not as before: limit", Committing<kLimit>()},
    {"LosesALock", "the data file is not locked", Committing<kUnlock>()},
    {"LosesItsChild", "not as before: child", Committing<kKillChild>()},
    {"RefusesTheNextUpgrade", "the next upgrade does not succeed", Committing<kRefuseNext>()},
    {"DiesAfterTheCommit", "clients: ", Committing<kCrash>()},
    {"DoesNotEndCleanly",
     "the server does not end cleanly",
     {"0", "Sabotaged", "B", "", Provoke<kNothing>, Proof::kServes, "exit=3"}},
    {"DoesNotStopCleanly",
     "the server did not end cleanly",
     {"0", "Sabotaged", "B", "", StopAfterwards, Proof::kStopped, "exit=3"}},
    {"IsLostInSilence",
     "the loss is not loud",
     {"0", "Sabotaged", "B", "", StopAfterwards, Proof::kLost}},
    {"EndsOtherwise", "promised A, seen B", {"0", "Sabotaged", "A", "", Provoke<kNothing>}},
    {"GivesAnotherCode",
     "promised the code E_OTHER, seen ",
     {"0", "Sabotaged", "B", "E_OTHER", Provoke<kNothing>}},
};

std::string NameOf(const ::testing::TestParamInfo<std::tuple<Row, int>>& info) {
  const auto& [row, threads] = info.param;
  return absl::StrCat("That", row.name, "On", threads == 1 ? "OneThread" : "FourThreads");
}

class ProofTest : public ::testing::TestWithParam<std::tuple<Row, int>> {
 protected:
  // What is kept of a server with which something is wrong need not outlive the test.
  ProofTest() { setenv("LIVEEXEC_TMPDIR", kept_.path().c_str(), 1); }
  ~ProofTest() override { unsetenv("LIVEEXEC_TMPDIR"); }

  const harness::TempDir kept_;
};

TEST_P(ProofTest, SaysWhatIsWrong) {
  const auto& [row, threads] = GetParam();
  const CellResult result = RunCell(row.cell, threads);
  ASSERT_EQ(result.skipped, "");
  EXPECT_FALSE(result.ok());
  EXPECT_THAT(result.problems, Contains(HasSubstr(row.problem)));
}

INSTANTIATE_TEST_SUITE_P(AServer, ProofTest,
                         ::testing::Combine(::testing::ValuesIn(kRows), ::testing::Values(1, 4)),
                         NameOf);

// What all of the above have in common is no reason to complain.
TEST(ProofOfARightServerTest, HasNothingToSay) {
  for (int threads : {1, 4}) {
    EXPECT_THAT(RunCell(Committing<kNothing>(), threads).problems, IsEmpty());
  }
}

}  // namespace
}  // namespace liveexec::faults
