// Who sits at a server of each protocol.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_SEATING_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_SEATING_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "tests/harness/history.h"
#include "tests/harness/load.h"
#include "tests/harness/torture/options.h"

namespace liveexec::harness {

// What the clients of one run share. Must outlive the load.
struct SharedState {
  History history;
  uint64_t last_published = 0;
  uint64_t last_acknowledged = 0;  // of what was published
};

// Adds options.idle idle and options.clients busy seats, and those of every other kind that the
// protocol allows: visitors, slow takers, subscribers, timers, clients of shared keys.
absl::Status SeatClients(const TortureOptions& options, SharedState& shared, Load& load);

// A request and its reply, different each time. Not for HTTP.
Exchange AnyExchange(const TortureOptions& options, Random& random);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_SEATING_H_
