// How much memory there is left.
#ifndef LIVEEXEC_HANDOFF_AVAILABLE_MEMORY_H_
#define LIVEEXEC_HANDOFF_AVAILABLE_MEMORY_H_

#include <cstdint>
#include <optional>
#include <string>

namespace liveexec {

// In bytes, the smaller of the machine's and of our cgroup's; nothing when neither can be read.
std::optional<uint64_t> AvailableMemory();

// In bytes: what is left in the cgroup `path` ("/a/b", "/") of the hierarchy (version 2) that is
// mounted at `root`, and in each that it is within. Memory that the kernel would take back counts
// as left. Nothing when none of them has a limit.
std::optional<uint64_t> AvailableInCgroup(const std::string& root, std::string path);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_AVAILABLE_MEMORY_H_
