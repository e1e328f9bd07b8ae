// Crossing: the blackout in the old program, from the first stopped thread to exec.
#ifndef LIVEEXEC_HANDOFF_CROSSING_H_
#define LIVEEXEC_HANDOFF_CROSSING_H_

#include <optional>

#include "absl/status/status.h"
#include "handoff/attempt.h"
#include "handoff/program.h"

namespace liveexec {

// Runs on the main thread, between callbacks. Becomes the new program; returns only when that
// failed, with every component resumed and every thread released. E_QUIESCE, E_EXPORT, E_FD,
// E_MEMORY, E_FDPUSH, E_CHANGED, E_TIMEOUT, E_CANCELLED, E_EXEC. Nothing: threads have
// operations in flight again; wait until they are drained and call it once more.
std::optional<absl::Status> Cross(Program& program, Attempt& attempt);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CROSSING_H_
