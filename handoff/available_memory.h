// How much memory there is left.
#ifndef LIVEEXEC_HANDOFF_AVAILABLE_MEMORY_H_
#define LIVEEXEC_HANDOFF_AVAILABLE_MEMORY_H_

#include <cstdint>
#include <optional>

namespace liveexec {

// In bytes, the smaller of the machine's and of our cgroup's; nothing when neither can be read.
std::optional<uint64_t> AvailableMemory();

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_AVAILABLE_MEMORY_H_
