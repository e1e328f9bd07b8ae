// What a rehearsal's end says: the candidate's own verdict, or how it died.
#ifndef LIVEEXEC_HANDOFF_REHEARSAL_VERDICT_H_
#define LIVEEXEC_HANDOFF_REHEARSAL_VERDICT_H_

#include <string>

#include "absl/status/status.h"
#include "handoff/flight_recorder.h"

namespace liveexec {

// `wait_status` as of waitpid(2). Ok when the candidate has accepted, in `recorder`, and ended as
// one that accepts. Otherwise E_REHEARSAL, or E_SCHEMA, E_APP or E_ABI when it refused for that,
// with its own words, or with the last of its `output`.
absl::Status RehearsalVerdict(int wait_status, FlightRecorder& recorder, const std::string& output);

// For a rehearsal that did not come to an end by itself: E_REHEARSAL.
absl::Status RehearsalRefusal(const std::string& what, const std::string& output);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_REHEARSAL_VERDICT_H_
