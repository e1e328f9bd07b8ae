// The order in which several binaries follow one another, so that each pair comes in both
// directions.
#ifndef LIVEEXEC_TESTS_HARNESS_VERSION_MATRIX_H_
#define LIVEEXEC_TESTS_HARNESS_VERSION_MATRIX_H_

#include <cstddef>
#include <vector>

namespace liveexec::harness {

// A closed walk over 0..count-1 that starts after 0 and takes each of the count * count steps (from
// each to each, itself included) exactly once: upgrade n goes to walk[n % walk.size()], n from 0.
std::vector<size_t> EveryPairOnce(size_t count);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_VERSION_MATRIX_H_
