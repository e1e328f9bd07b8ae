// Misbehaviour on demand: what the victim does wrong, where, is in a file that the test writes.
//
// DIR/plan has lines "ROLE MODE POINT ACTION [ARGUMENT]". ROLE is the program's ("v1", "bad"), MODE
// how it was started ("fresh", "rehearsal", "upgrade", "rollback", "resurrection"), POINT a place
// in the code; each may be "*". Reach(POINT) does what the first matching line says:
//
//   error [CODE]      returns an error            throw         throws a std::exception
//   segv abort fpe ill trap                       dies of that signal
//   stack             overflows the stack         exit N        calls exit(N); _exit N
//   kill              SIGKILL to itself           hang          never returns
//   hang-blocked      never returns, with all signals blocked
//   memory            allocates until there is none (at most 64 MiB)
//   nofile N          sets RLIMIT_NOFILE          jump N        moves the wall clock by N seconds
//   seccomp           only read, write and exit   flood         writes 64 MiB to stderr
//   meddle            changes and shuts down all its fds
//   early-write N     writes to resident memory of shard N (rehydrate, selfcheck)
//   torn              leaves an update of resident memory open (quiesce)
//   squat             maps something where resident memory has to be (static)
//   leak              opens a file, and forgets it
//   kill-child        kills its children (activate)
//   unlock            gives the locks of its file up (activate)
//   miscount          counts a byte that nobody sent (activate)
//   refuse-next       refuses the next upgrade (activate)
//   scribble          overwrites the flight recorder, then exits with status 0
//   stop              says so in DIR/events, and goes on when there is a byte in DIR/go
//
// Any thread. Nothing is cached: a plan may change while the program runs.
#ifndef LIVEEXEC_TESTS_FAULTS_VICTIM_MISBEHAVIOUR_H_
#define LIVEEXEC_TESTS_FAULTS_VICTIM_MISBEHAVIOUR_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace liveexec::faults {

// "v1", "bad": one source file of each binary defines it.
extern const char* const kRole;
// Of its resident memory; so is this.
extern const uint64_t kLayout;

// Where the plan is; before that no misbehaviour happens.
void SetDirectory(std::string_view directory);
const std::string& Directory();

// What the plan has for `point`: "ACTION ARGUMENT", or empty.
std::string PlanFor(std::string_view point);
// Does it. Actions that it does not know it leaves to the caller.
absl::Status Reach(std::string_view point);

// Stops the whole process, as by SIGSTOP, if somebody traces it: so that the tracer can let go of
// it between the crossing and whatever comes then.
void PauseIfTraced();

// Writes "PID POINT MODE" to DIR/events and waits for a byte in DIR/go.
void StopAt(std::string_view point);

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_VICTIM_MISBEHAVIOUR_H_
