// The sweep: every system call of a crossing, failed in turn.
//
//   for (const Fault& fault : PlanSweep(1)) CellResult result = RunFault(fault, 1);
//
// A normal crossing is traced first, to know which calls there are; then each of them is made to
// fail in a run of its own, once, and from it on to the crossing's end; or is late by a second; or
// is the last that the process makes. Clients are connected all the time and are asked before and
// after, never meanwhile: what they do would be calls too.
#ifndef LIVEEXEC_TESTS_FAULTS_SWEEP_H_
#define LIVEEXEC_TESTS_FAULTS_SWEEP_H_

#include <string>
#include <vector>

#include "tests/faults/cell.h"

namespace liveexec::faults {

// Whose calls.
enum class Actor {
  kMain,       // the main thread, from the first stopped thread to the first callback afterwards
  kPreparing,  // the thread that prepares the upgrade, from the snapshot on
  kCandidate,  // the process that rehearses, from its constructors on
};

struct Fault {
  Actor actor = Actor::kMain;
  std::string call;  // "sendmsg"
  std::string what;  // for strace: "error=EIO"
  int first = 1;     // of the actor's calls of that name
  int last = 1;
  // How many messages a normal crossing puts into channels before it is sealed.
  int messages = 0;
  // Of a new program that has been loaded: from where it prepares for its own failure on.
  bool loaded = false;

  std::string Name() const;  // "sendmsg error=EIO 2..2 of the main thread"
};

// All of them. Takes seconds; throws std::runtime_error when a normal crossing cannot be traced.
std::vector<Fault> PlanSweep(int threads);

// "A|B|C|R" is promised; "B|C" for one error in a new program that has been loaded; for SIGKILL "R"
// or "D", which depends on what the process had done by then. Never throws.
CellResult RunFault(const Fault& fault, int threads);

// `count` of them, chosen by `seed`; all when there are no more.
std::vector<Fault> Sample(std::vector<Fault> faults, size_t count, uint64_t seed);

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_SWEEP_H_
