// The rehearsal as the old program sees it: hand the candidate a snapshot of this server's real
// state, in a process of its own, and see whether it can live with it. The old program serves on.
#ifndef LIVEEXEC_HANDOFF_REHEARSAL_H_
#define LIVEEXEC_HANDOFF_REHEARSAL_H_

#include "absl/status/status.h"
#include "handoff/attempt.h"
#include "handoff/program.h"

namespace liveexec {

// Blocks until the verdict. E_REHEARSAL with the candidate's own words: it crashed, hung, exited or
// refused; E_SCHEMA, E_APP, E_ABI when it refused for that; E_CANCELLED. Needs the attempt's
// candidate and inspector. Not on the main thread, which takes the snapshot.
// Also checks the memory and the blackout budget, which the snapshot allows to judge: E_NOMEM,
// E_BLACKOUT.
absl::Status Rehearse(Program& program, Attempt& attempt);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_REHEARSAL_H_
