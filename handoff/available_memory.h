// How much memory there is left.
#ifndef LIVEEXEC_HANDOFF_AVAILABLE_MEMORY_H_
#define LIVEEXEC_HANDOFF_AVAILABLE_MEMORY_H_

#include <cstdint>
#include <optional>
#include <string>

namespace liveexec {

// In bytes, the smallest of the machine's, of our cgroup's and of our address space; nothing when
// none of them can be read.
std::optional<uint64_t> AvailableMemory();

// In bytes: what RLIMIT_AS leaves of the address space, less 128 MiB; nothing when it is not
// limited. A program takes more of it while it begins than when it serves, the one that is gone
// back to as well: where little is left, neither the new nor the old one could.
std::optional<uint64_t> AvailableAddressSpace();

// In bytes: what is left in the cgroup `path` ("/a/b", "/") of the hierarchy (version 2) that is
// mounted at `root`, and in each that it is within. Memory that the kernel would take back counts
// as left. Nothing when none of them has a limit.
std::optional<uint64_t> AvailableInCgroup(const std::string& root, std::string path);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_AVAILABLE_MEMORY_H_
