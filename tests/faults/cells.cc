#include "tests/faults/cells.h"

#include <exception>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/faults/fault_run.h"

namespace liveexec::faults {
namespace {

bool IsOneOf(const std::string& value, const std::string& alternatives) {
  for (const absl::string_view one : absl::StrSplit(alternatives, '|')) {
    if (one == value) return true;
  }
  return false;
}

void Judge(const Cell& cell, CellResult& result) {
  const Seen& seen = result.seen;
  if (!IsOneOf(seen.outcome, cell.promised)) {
    result.problems.push_back(absl::StrCat("promised ", cell.promised, ", seen ", seen.outcome,
                                           " (", seen.code, ": ", seen.message, ")"));
  } else if (!IsOneOf(seen.code, cell.code)) {
    result.problems.push_back(absl::StrCat("promised the code ", cell.code, ", seen ", seen.code,
                                           " (", seen.message, ")"));
  }
}

void Play(const Cell& cell, CellResult& result) {
  FaultRun run({.threads = result.threads, .victim = cell.options, .supervisor = cell.supervisor});
  try {
    result.seen = cell.provoke(run);
    Judge(cell, result);
    run.Prove(cell.proof);
  } catch (const std::exception& error) {
    result.problems.push_back(error.what());
  }
  for (const std::string& problem : run.problems()) result.problems.push_back(problem);
  if (!result.ok()) run.KeepLog();
}

}  // namespace

const std::vector<Cell>& Cells() {
  static const auto* const cells = [] {
    auto* all = new std::vector<Cell>;
    for (const auto& some : {RequestCells(), CheckingCells(), RehearsingCells(), BlackoutCells(),
                             ArrivalCells(), AfterwardsCells(), SupervisedCells()}) {
      all->insert(all->end(), some.begin(), some.end());
    }
    return all;
  }();
  return *cells;
}

const std::vector<Omission>& Omissions() {
  static const auto* const omissions = new std::vector<Omission>;
  return *omissions;
}

CellResult RunCell(const Cell& cell, int threads) {
  CellResult result{.cell = absl::StrCat(cell.number, " ", cell.name),
                    .threads = threads,
                    .promised = cell.promised,
                    .promised_code = cell.code};
  try {
    Play(cell, result);
  } catch (const Skipped& skipped) {
    result.skipped = skipped.why;
  } catch (const std::exception& error) {
    result.problems.push_back(error.what());
  }
  return result;
}

}  // namespace liveexec::faults
