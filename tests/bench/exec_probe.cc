#include "tests/bench/exec_probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "core/unique_fd.h"

namespace liveexec::bench {

ExecProbe::ExecProbe(pid_t pid) : path_("/proc/" + std::to_string(pid) + "/auxv"), seen_(Read()) {}

bool ExecProbe::Changed() {
  std::string now = Read();
  if (now == seen_) return false;
  seen_ = std::move(now);
  return true;
}

// Opened each time: an fd of it belongs to the address space that it was opened on.
std::string ExecProbe::Read() const {
  const UniqueFd file(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  char bytes[1024];
  const ssize_t size = file.get() < 0 ? 0 : read(file.get(), bytes, sizeof(bytes));
  return size > 0 ? std::string(bytes, static_cast<size_t>(size)) : std::string();
}

}  // namespace liveexec::bench
