// The two clocks, in nanoseconds.
#ifndef LIVEEXEC_CORE_CLOCK_H_
#define LIVEEXEC_CORE_CLOCK_H_

#include <time.h>

#include <cstdint>

namespace liveexec {

inline int64_t ClockNs(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// CLOCK_MONOTONIC, which goes on across exec.
inline int64_t MonotonicNs() { return ClockNs(CLOCK_MONOTONIC); }
// CLOCK_REALTIME: since 1970.
inline int64_t UnixNs() { return ClockNs(CLOCK_REALTIME); }

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_CLOCK_H_
