// Arrival: the program after exec, from the channel to the commit. The new program of an upgrade,
// or the old one again after a rollback: both do the same, with another ending.
#ifndef LIVEEXEC_HANDOFF_ARRIVAL_H_
#define LIVEEXEC_HANDOFF_ARRIVAL_H_

#include "absl/status/status.h"
#include "handoff/inheritance.h"
#include "handoff/program.h"

namespace liveexec {

// Receives, verifies, rehydrates, checks and commits. On success `program` has its generation,
// traits, journal (with this upgrade's entry) and all components activated. On failure nothing has
// been served and the channel is untouched; the caller rolls back.
//
// Main thread, all registered threads parked.
absl::Status Arrive(Program& program, const Inheritance& inheritance);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_ARRIVAL_H_
