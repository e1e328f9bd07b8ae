// Every cell of the fault matrix, on one thread and on four.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/faults/cell.h"

namespace liveexec::faults {
namespace {

struct Case {
  const Cell* cell;
  int threads;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Cell& cell : Cells()) {
    for (int threads : {1, 4}) cases.push_back({&cell, threads});
  }
  return cases;
}

std::string NameOf(const ::testing::TestParamInfo<Case>& info) {
  return absl::StrCat("Cell", info.param.cell->number, info.param.cell->name, "On",
                      info.param.threads == 1 ? "OneThread" : "FourThreads");
}

class FaultMatrixTest : public ::testing::TestWithParam<Case> {};

TEST_P(FaultMatrixTest, EndsAsPromised) {
  const CellResult result = RunCell(*GetParam().cell, GetParam().threads);
  if (!result.skipped.empty()) GTEST_SKIP() << result.skipped;
  EXPECT_TRUE(result.ok()) << result.cell << "\n  " << absl::StrJoin(result.problems, "\n  ");
}

INSTANTIATE_TEST_SUITE_P(Matrix, FaultMatrixTest, ::testing::ValuesIn(Cases()), NameOf);

// No cell is left out in silence.
TEST(FaultMatrixTableTest, HasEveryCell) {
  std::set<std::string> known;
  for (const Cell& cell : Cells()) known.insert(cell.number);
  for (const Omission& omission : Omissions()) known.insert(omission.number);
  constexpr int kCells = 84;
  for (int number = 1; number <= kCells; ++number) {
    EXPECT_EQ(known.count(absl::StrCat(number)), 1u) << "cell " << number;
  }
}

}  // namespace
}  // namespace liveexec::faults
