// Connections to a server on 127.0.0.1, in numbers beyond what one source address has ports for:
// connection i comes from 127.0.0.(1 + i / 20000).
#ifndef LIVEEXEC_TESTS_BENCH_CONNECTIONS_H_
#define LIVEEXEC_TESTS_BENCH_CONNECTIONS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"

namespace liveexec::bench {

// Raises RLIMIT_NOFILE so that `connections` fit, the hard limit too if we may.
// ResourceExhausted: the limits forbid it; the message says which.
absl::Status AllowConnections(size_t connections);

// A blocking TCP connection, without Nagle's delay. `index` chooses the source address.
absl::StatusOr<UniqueFd> ConnectTo(int port, size_t index);

int64_t MonotonicNs();

}  // namespace liveexec::bench

#endif  // LIVEEXEC_TESTS_BENCH_CONNECTIONS_H_
