// Preparation: the phases of an upgrade that run while the old program serves on, on a thread of
// their own: Checking, Rehearsing, Guarding.
#ifndef LIVEEXEC_HANDOFF_PREPARATION_H_
#define LIVEEXEC_HANDOFF_PREPARATION_H_

#include <functional>

#include "absl/status/status.h"
#include "handoff/attempt.h"
#include "handoff/program.h"

namespace liveexec {

// Told when a phase begins; any thread.
using PhaseObserver = std::function<void(Phase)>;

// Fills in `attempt` up to its channel. An error abandons the upgrade; nothing needs to be undone
// but to drop the attempt. May block, for as long as the options' deadlines allow.
absl::Status Prepare(Program& program, Attempt& attempt, const PhaseObserver& observer);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_PREPARATION_H_
