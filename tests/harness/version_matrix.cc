#include "tests/harness/version_matrix.h"

namespace liveexec::harness {

// An Euler circuit of the complete directed graph with loops: from 0, for each other node n the
// loop n-n and then, for each m above n, the round trip n-m-n; and the loop of 0 last.
std::vector<size_t> EveryPairOnce(size_t count) {
  std::vector<size_t> walk;
  if (count == 0) return walk;
  for (size_t other = 1; other < count; ++other) {
    walk.push_back(other);
    // What belongs to `other` alone, on the first visit, which is from 0.
    walk.push_back(other);
    for (size_t higher = other + 1; higher < count; ++higher) {
      walk.push_back(higher);
      walk.push_back(other);
    }
    walk.push_back(0);
  }
  walk.push_back(0);
  return walk;
}

}  // namespace liveexec::harness
