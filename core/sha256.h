// SHA-256 of a file, by libmd.
#ifndef LIVEEXEC_CORE_SHA256_H_
#define LIVEEXEC_CORE_SHA256_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "core/syscalls.h"

namespace liveexec {

// Lower-case hexadecimal, of everything in `fd` (borrowed, readable; its offset is not moved).
// Errors carry the errno; DeadlineExceeded when CLOCK_MONOTONIC passes `deadline_ns` meanwhile.
absl::StatusOr<std::string> Sha256OfFile(Syscalls& syscalls, int fd, int64_t deadline_ns);

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_SHA256_H_
