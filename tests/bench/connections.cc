#include "tests/bench/connections.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <ctime>

#include "absl/strings/str_cat.h"

namespace liveexec::bench {
namespace {

constexpr size_t kPerSource = 20000;
constexpr rlim_t kOtherFds = 64;

}  // namespace

absl::Status AllowConnections(size_t connections) {
  const rlim_t wanted = connections + kOtherFds;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= wanted) return absl::OkStatus();
  limit.rlim_cur = wanted;
  const rlim_t hard = limit.rlim_max;
  if (wanted > hard) limit.rlim_max = wanted;
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      connections, " connections need more fds than the hard limit of ", hard, " allows"));
}

absl::StatusOr<UniqueFd> ConnectTo(int port, size_t index) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return absl::ErrnoToStatus(errno, "socket");
  const int on = 1;
  // The port is chosen at connect, when the destination is known: it need only be free for that.
  setsockopt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  sockaddr_in source{};
  source.sin_family = AF_INET;
  source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<uint32_t>(index / kPerSource));
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&source), sizeof(source)) != 0) {
    return absl::ErrnoToStatus(errno, "bind");
  }
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server.sin_port = htons(static_cast<uint16_t>(port));
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&server), sizeof(server)) != 0) {
    return absl::ErrnoToStatus(errno, "connect");
  }
  return fd;
}

int64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace liveexec::bench
