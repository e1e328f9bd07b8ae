// kill -9 at a random moment of a crossing.
#ifndef LIVEEXEC_TESTS_FAULTS_RANDOM_KILL_H_
#define LIVEEXEC_TESTS_FAULTS_RANDOM_KILL_H_

#include <cstdint>

#include "tests/faults/cell.h"

namespace liveexec::faults {

// One upgrade, killed at a moment that `seed` chooses between shortly before the blackout and
// shortly after the commit. The process is stopped first, so that it can be read where it was:
// between seal and commit "R" is promised, with every connection and byte, and "D" otherwise.
CellResult KillAtRandom(int threads, uint64_t seed);

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_RANDOM_KILL_H_
