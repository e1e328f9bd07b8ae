// One clock for everything the harness measures: CLOCK_MONOTONIC, the same that the journal's
// phases use, so that what clients saw can be laid beside what the server says it did.
#ifndef LIVEEXEC_TESTS_HARNESS_CLOCK_H_
#define LIVEEXEC_TESTS_HARNESS_CLOCK_H_

#include <cstdint>
#include <ctime>

namespace liveexec::harness {

// Nanoseconds since an arbitrary point, never going back.
inline int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_CLOCK_H_
