#include "tests/harness/endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace liveexec::harness {

namespace {

// Fills `address` and returns its length, or 0 when the endpoint cannot be one.
socklen_t Resolve(const Endpoint& endpoint, sockaddr_storage& address) {
  if (!endpoint.unix_path.empty()) {
    auto* local = reinterpret_cast<sockaddr_un*>(&address);
    if (endpoint.unix_path.size() >= sizeof local->sun_path) return 0;
    local->sun_family = AF_UNIX;
    std::memcpy(local->sun_path, endpoint.unix_path.c_str(), endpoint.unix_path.size() + 1);
    return sizeof *local;
  }
  auto* internet = reinterpret_cast<sockaddr_in*>(&address);
  internet->sin_family = AF_INET;
  internet->sin_port = htons(static_cast<uint16_t>(endpoint.port));
  return inet_pton(AF_INET, endpoint.host.c_str(), &internet->sin_addr) == 1 ? sizeof *internet : 0;
}

}  // namespace

std::string Endpoint::ToString() const {
  if (!unix_path.empty()) return absl::StrCat("unix:", unix_path);
  return absl::StrCat(datagrams ? "udp " : "", host, ":", port);
}

absl::StatusOr<UniqueFd> Dial(const Endpoint& endpoint, const DialOptions& options) {
  sockaddr_storage address{};
  const socklen_t length = Resolve(endpoint, address);
  if (length == 0)
    return absl::InvalidArgumentError(absl::StrCat("not an address: ", endpoint.ToString()));
  UniqueFd fd(
      socket(address.ss_family, (endpoint.datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, "socket");
  if (options.receive_buffer > 0) {
    // Before connect: the window's scale is agreed on in the handshake.
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &options.receive_buffer,
               sizeof options.receive_buffer);
  }
  const timeval patience = {.tv_sec = 20, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience,
             sizeof patience);  // bounds connect() as well
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
    return ErrnoError(errno, absl::StrCat("connecting to ", endpoint.ToString()));
  }
  const int on = 1;
  if (address.ss_family == AF_INET && !endpoint.datagrams)
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

std::string LocalName(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
      address.ss_family != AF_INET) {
    return absl::StrCat("unix fd ", fd);
  }
  const auto* internet = reinterpret_cast<const sockaddr_in*>(&address);
  char text[INET_ADDRSTRLEN] = {};
  inet_ntop(AF_INET, &internet->sin_addr, text, sizeof text);
  return absl::StrCat(text, ":", ntohs(internet->sin_port));
}

}  // namespace liveexec::harness
