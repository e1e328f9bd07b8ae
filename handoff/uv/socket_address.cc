#include "handoff/uv/socket_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <uv.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace liveexec::uv {
namespace {

template <typename Address>
const Address& As(const sockaddr* address) {
  return *reinterpret_cast<const Address*>(address);
}

socklen_t MinimumLength(int family) {
  switch (family) {
    case AF_INET:
      return sizeof(sockaddr_in);
    case AF_INET6:
      return sizeof(sockaddr_in6);
    case AF_UNIX:
      return offsetof(sockaddr_un, sun_path);
    default:
      return 0;
  }
}

}  // namespace

SocketAddress::SocketAddress(const sockaddr* address, socklen_t length)
    : length_(std::min<socklen_t>(length, sizeof(storage_))) {
  std::memcpy(&storage_, address, length_);
}

absl::StatusOr<SocketAddress> SocketAddress::Resolve(const std::string& host, int port,
                                                     int socket_type) {
  if (port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("port ", port, " is not in 0 to 65535"));
  }
  addrinfo hints = {};
  hints.ai_socktype = socket_type;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(),
                                &hints, &found);
  if (error != 0) return absl::NotFoundError(absl::StrCat(host, ": ", gai_strerror(error)));
  SocketAddress address(found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return address;
}

absl::StatusOr<SocketAddress> SocketAddress::Local(int fd) {
  SocketAddress address;
  address.length_ = sizeof(address.storage_);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage_), &address.length_) != 0) {
    return ErrnoError(errno, "getsockname");
  }
  return address;
}

absl::StatusOr<SocketAddress> SocketAddress::Peer(int fd) {
  SocketAddress address;
  address.length_ = sizeof(address.storage_);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage_), &address.length_) != 0) {
    return ErrnoError(errno, "getpeername");
  }
  return address;
}

absl::StatusOr<SocketAddress> SocketAddress::FromBytes(std::string_view bytes) {
  SocketAddress address;
  if (bytes.size() < sizeof(sa_family_t) || bytes.size() > sizeof(address.storage_)) {
    return absl::InvalidArgumentError("a socket address has an impossible length");
  }
  std::memcpy(&address.storage_, bytes.data(), bytes.size());
  address.length_ = static_cast<socklen_t>(bytes.size());
  const socklen_t minimum = MinimumLength(address.family());
  if (minimum == 0 || address.length_ < minimum) {
    return absl::InvalidArgumentError("a socket address is of an unknown family or cut short");
  }
  return address;
}

std::string SocketAddress::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) uv_ip4_name(&As<sockaddr_in>(get()), text, sizeof(text));
  if (family() == AF_INET6) uv_ip6_name(&As<sockaddr_in6>(get()), text, sizeof(text));
  return text;
}

int SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(As<sockaddr_in>(get()).sin_port);
  if (family() == AF_INET6) return ntohs(As<sockaddr_in6>(get()).sin6_port);
  return 0;
}

std::string SocketAddress::ToString() const {
  if (length_ == 0) return "";
  if (family() == AF_INET) return absl::StrCat(host(), ":", port());
  if (family() == AF_INET6) return absl::StrCat("[", host(), "]:", port());
  if (family() != AF_UNIX) return "";
  const size_t start = offsetof(sockaddr_un, sun_path);
  if (length_ <= start) return "unix:";
  const auto& path = As<sockaddr_un>(get()).sun_path;
  // An abstract name begins with a zero byte and is not terminated by one.
  if (path[0] == '\0') return absl::StrCat("unix:@", std::string(path + 1, length_ - start - 1));
  return absl::StrCat("unix:", std::string(path, strnlen(path, length_ - start)));
}

}  // namespace liveexec::uv
