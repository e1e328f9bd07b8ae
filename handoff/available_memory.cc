#include "handoff/available_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace liveexec {
namespace {

std::optional<uint64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  uint64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

std::optional<uint64_t> MachineMemory() {
  std::ifstream file("/proc/meminfo");
  for (std::string name, unit; file >> name;) {
    uint64_t kilobytes = 0;
    if (!(file >> kilobytes)) return std::nullopt;
    std::getline(file, unit);
    if (name == "MemAvailable:") return kilobytes << 10;
  }
  return std::nullopt;
}

// What the kernel takes back when memory is short: file pages that nobody has used for a while, and
// its own caches. As the manual of cgroup v2 names them.
uint64_t Reclaimable(const std::string& directory) {
  std::ifstream file(directory + "/memory.stat");
  uint64_t sum = 0, value = 0;
  for (std::string name; file >> name >> value;) {
    if (name == "inactive_file" || name == "slab_reclaimable") sum += value;
  }
  return sum;
}

// Of one cgroup; "max" is no number, and no limit.
std::optional<uint64_t> AvailableIn(const std::string& directory) {
  const auto limit = ReadNumber(directory + "/memory.max");
  const auto used = ReadNumber(directory + "/memory.current");
  if (!limit || !used) return std::nullopt;
  const uint64_t needed = *used - std::min(*used, Reclaimable(directory));
  return *limit > needed ? *limit - needed : 0;
}

// cgroup v2.
std::optional<uint64_t> CgroupMemory() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (absl::StartsWith(line, "0::")) return AvailableInCgroup("/sys/fs/cgroup", line.substr(3));
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> AvailableAddressSpace() {
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  const auto pages = ReadNumber("/proc/self/statm");
  if (!pages) return std::nullopt;
  const uint64_t used = *pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  // Arenas of libc's, stacks and what is mapped twice while a program begins: it was seen that
  // neither the new nor the old program came up with 48 MiB more than what the server used.
  constexpr uint64_t kBeginning = 128 << 20;
  const uint64_t needed = used + kBeginning;
  return limit.rlim_cur > needed ? limit.rlim_cur - needed : 0;
}

std::optional<uint64_t> AvailableInCgroup(const std::string& root, std::string path) {
  std::optional<uint64_t> least;
  while (true) {
    if (const auto available = AvailableIn(root + path)) {
      least = std::min(least.value_or(*available), *available);
    }
    if (path.empty()) return least;
    const size_t slash = path.rfind('/');
    path.resize(slash == std::string::npos ? 0 : slash);
  }
}

std::optional<uint64_t> AvailableMemory() {
  std::optional<uint64_t> least;
  for (const auto& bound : {MachineMemory(), CgroupMemory(), AvailableAddressSpace()}) {
    if (bound) least = std::min(least.value_or(*bound), *bound);
  }
  return least;
}

}  // namespace liveexec
