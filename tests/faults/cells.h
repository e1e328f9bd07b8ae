// The cells of the fault matrix, a file for each stage of an upgrade.
#ifndef LIVEEXEC_TESTS_FAULTS_CELLS_H_
#define LIVEEXEC_TESTS_FAULTS_CELLS_H_

#include <vector>

#include "tests/faults/cell.h"

namespace liveexec::faults {

std::vector<Cell> RequestCells();
std::vector<Cell> CheckingCells();
std::vector<Cell> RehearsingCells();
std::vector<Cell> BlackoutCells();  // quiescing to executing
std::vector<Cell> ArrivalCells();   // after exec
std::vector<Cell> AfterwardsCells();
std::vector<Cell> SupervisedCells();

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_CELLS_H_
