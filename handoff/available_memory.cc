#include "handoff/available_memory.h"

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

// cgroup v2; "max" is no number, and no limit.
std::optional<uint64_t> CgroupMemory() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (!absl::StartsWith(line, "0::")) continue;
    std::string directory = absl::StrCat("/sys/fs/cgroup", line.substr(3));
    auto limit = ReadNumber(directory + "/memory.max");
    auto used = ReadNumber(directory + "/memory.current");
    if (limit && used) return *limit > *used ? *limit - *used : 0;
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> AvailableMemory() {
  std::optional<uint64_t> machine = MachineMemory(), cgroup = CgroupMemory();
  if (machine && cgroup) return std::min(*machine, *cgroup);
  return machine ? machine : cgroup;
}

}  // namespace liveexec
