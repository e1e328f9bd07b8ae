// Precopy: what components do ahead of the blackout, while the old program serves on.
#ifndef LIVEEXEC_HANDOFF_PRECOPY_H_
#define LIVEEXEC_HANDOFF_PRECOPY_H_

#include "absl/status/status.h"
#include "handoff/attempt.h"
#include "handoff/program.h"

namespace liveexec {

// Calls Precopy of all components, on the main executor's thread, and waits until each has said
// that it is done. On the preparing thread. Notes in `attempt` that it has begun, from when on
// AbandonPrecopy is owed if the upgrade is abandoned. E_TIMEOUT: precopy_deadline passed.
// E_CANCELLED: the attempt was cancelled meanwhile.
absl::Status Precopy(Program& program, Attempt& attempt);

// Calls AbandonPrecopy of all components; main executor's thread.
void AbandonPrecopy(Program& program);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_PRECOPY_H_
