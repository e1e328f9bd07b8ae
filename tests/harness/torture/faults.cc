#include "tests/harness/torture/faults.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace liveexec::harness {

absl::Status CopyProgram(const std::string& from, const std::string& to, double part) {
  std::ifstream in(from, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  const std::string whole = bytes.str();
  std::ofstream out(to, std::ios::binary | std::ios::trunc);
  out << whole.substr(0, static_cast<size_t>(static_cast<double>(whole.size()) * part));
  out.close();
  if (whole.empty() || !out || chmod(to.c_str(), 0755) != 0)
    return absl::UnavailableError(absl::StrCat("cannot copy ", from, " to ", to));
  return absl::OkStatus();
}

void ResetConnections(const Endpoint& endpoint, int count) {
  for (int i = 0; i < count; ++i) {
    auto fd = Dial(endpoint);
    if (!fd.ok()) continue;
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd->get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
}

void FloodConnections(const Endpoint& endpoint, int count) {
  std::vector<UniqueFd> fds;
  for (int i = 0; i < count; ++i) {
    auto fd = Dial(endpoint);
    if (fd.ok()) fds.push_back(*std::move(fd));
  }
}

void StopFor(pid_t pid, absl::Duration time) {
  kill(pid, SIGSTOP);
  poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(time)));
  kill(pid, SIGCONT);
}

}  // namespace liveexec::harness
