// The rehearsal as the candidate plays it: rebuild the running program's state on stand-in fds,
// check it, say so, end.
#ifndef LIVEEXEC_HANDOFF_REHEARSAL_CANDIDATE_H_
#define LIVEEXEC_HANDOFF_REHEARSAL_CANDIDATE_H_

#include "handoff/inheritance.h"
#include "handoff/program.h"

namespace liveexec {

// Exit statuses of a rehearsal. The verdict itself is in the flight recorder: a program that just
// exits 0 has accepted nothing.
inline constexpr int kRehearsalAccepted = 0;
inline constexpr int kRehearsalRefused = 1;

// Ends the process without running destructors or atexit handlers: those of a server may do harm
// outside of it. An error goes to stderr and, with its code, into the flight recorder.
[[noreturn]] void EndRehearsal(Program& program, const Inheritance& inheritance);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_REHEARSAL_CANDIDATE_H_
