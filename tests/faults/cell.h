// Cell: one thing that can go wrong, and what must come of it.
#ifndef LIVEEXEC_TESTS_FAULTS_CELL_H_
#define LIVEEXEC_TESTS_FAULTS_CELL_H_

#include <string>
#include <vector>

namespace liveexec::faults {

class FaultRun;

// What became of an upgrade, as far as its requester and its clients can tell.
struct Seen {
  // "A" abandoned, "B" committed, "C" rolled back, "R" resurrected, "D" lost; "?": no answer.
  std::string outcome;
  std::string code;  // "E_NOENT"; empty for B
  std::string message;
};

// What must be true at the end of a cell, besides its outcome.
enum class Proof {
  kServes,   // every client has its answers, nothing has changed, the next upgrade succeeds
  kStopped,  // the server was asked to stop, and did, cleanly
  kLost,     // the documented loss: the server is gone, and so is all that belonged to it
};

struct Cell {
  const char* number;    // in the fault matrix; several cells may share it: "69"
  const char* name;      // of the test
  const char* promised;  // outcomes, "A" or "A|B"
  const char* code;      // codes, "E_FDS|E_FD"; "" for none
  Seen (*provoke)(FaultRun&);
  Proof proof = Proof::kServes;
  const char* options = "";     // of the victim
  const char* supervisor = "";  // FaultRunOptions::supervisor
};

// A cell of the matrix that cannot be run, and why.
struct Omission {
  const char* number;
  const char* why;
};

const std::vector<Cell>& Cells();
const std::vector<Omission>& Omissions();

// One run of a cell.
struct CellResult {
  std::string cell;  // "69 RollsBackAStackOverflow"
  int threads = 0;
  std::string promised, promised_code;
  Seen seen;
  std::string skipped;                // why, if this machine cannot run it
  std::vector<std::string> problems;  // what was not as promised
  bool ok() const { return problems.empty(); }
};

// Never throws. `threads`: 1 or more.
CellResult RunCell(const Cell& cell, int threads);

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_CELL_H_
