// Rollback: the way back from a new program that fails between exec and commit.
//
// Before anything of the application runs in the new program, even its static constructors, this
// file looks whether it was exec'd by an upgrade, and if so arms: handlers on a stack of their own
// for every fatal signal, a timer for hangs, std::terminate, exit(). Each of them ends in one
// system call, execveat on the pinned old program, which finds the channel as full as it was.
//
// Armed state is the process's, so this is one of the few places with global state. Everything that
// runs in a handler is async-signal-safe and reads only memory that was prepared when arming.
#ifndef LIVEEXEC_HANDOFF_ROLLBACK_H_
#define LIVEEXEC_HANDOFF_ROLLBACK_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/unique_fd.h"
#include "handoff/flight_recorder.h"

namespace liveexec {

// The fds of the channel's first batch, in this order. The order is part of the protocol.
enum BootstrapFd : size_t {
  kManifestFd = 0,
  kRecorderFd = 1,
  kOldProgramFd = 2,  // O_PATH
  kBootstrapFdCount = 3,
};

// True in a new program from before main() until Disarm.
bool RollbackArmed();
// E_GUARD in a new program that should be armed, and is not, as what it takes could not be had: it
// must not touch what was handed over, but roll back.
absl::Status CheckRollbackArmed();

// The record that the old program will read; null when nothing is armed.
FlightRecord* RollbackRecord();

// Gives up: notes `reason` and execs the old program. Does not return, unless that exec fails: then
// the process ends with status 120, and a custodian can still start the old program. It returns
// when there is nothing to go back to: after the commit, in any other program than a new one, and
// when the channel cannot be read.
void RollBack(const absl::Status& reason);

// Commit: from here on a crash is a crash. Restores the signal actions that arming replaced, as far
// as nobody replaced them since.
void DisarmRollback();

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_ROLLBACK_H_
