// A snapshot: an export of all components in the midst of serving, for a rehearsal or a report.
#ifndef LIVEEXEC_HANDOFF_SNAPSHOT_H_
#define LIVEEXEC_HANDOFF_SNAPSHOT_H_

#include "absl/status/statusor.h"
#include "handoff/executor.h"
#include "handoff/exporter.h"
#include "handoff/fd_table.h"
#include "handoff/parking.h"
#include "handoff/program.h"

namespace liveexec {

// Has the main thread take it between two callbacks, all other threads parked, for rehearsal_slice
// at most; larger states are sampled. Blocks until it is there. A caller that is one
// of the registered threads, or the main one, names itself, as it waits and so cannot be parked.
// E_QUIESCE: it could not be taken in time. E_CANCELLED: `ticket` was (borrowed; null for none), or
// the program ends.
absl::StatusOr<Exported> TakeSnapshot(Program& program, FdInspector& inspector,
                                      const Successor& successor, Executor* caller = nullptr,
                                      const BlackoutTicket* ticket = nullptr);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_SNAPSHOT_H_
