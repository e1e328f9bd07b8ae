// The floor: an echo server that does nothing at an upgrade but to exec itself, with all its fds
// inherited. No check, no rehearsal, no way back. What it needs, every program needs that keeps its
// connections across exec; a stall is judged by comparing it with this one's.
//
//   floor PORT            0 picks one; then: kill -HUP PID
//
// Single-threaded; linked statically. Ends with exit code 1 when the system refuses anything.
#ifndef LIVEEXEC_TESTS_BENCH_FLOOR_SERVER_H_
#define LIVEEXEC_TESTS_BENCH_FLOOR_SERVER_H_

namespace liveexec::bench {

enum class EpollSet {
  kRebuilt,    // the new program adds each connection to a set of its own
  kInherited,  // the set crosses as well
};

int RunFloor(int argc, char** argv, EpollSet set);

}  // namespace liveexec::bench

#endif  // LIVEEXEC_TESTS_BENCH_FLOOR_SERVER_H_
