// SocketAddress: a value that holds an IPv4, IPv6 or UNIX address.
#ifndef LIVEEXEC_HANDOFF_UV_SOCKET_ADDRESS_H_
#define LIVEEXEC_HANDOFF_UV_SOCKET_ADDRESS_H_

#include <sys/socket.h>

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace liveexec::uv {

class SocketAddress {
 public:
  SocketAddress() = default;
  SocketAddress(const sockaddr* address, socklen_t length);

  // Resolves `host` (a name, an IPv4 or an IPv6 address); may block on the resolver for names.
  static absl::StatusOr<SocketAddress> Resolve(const std::string& host, int port, int socket_type);
  // The address that `fd` is bound to, or its peer's.
  static absl::StatusOr<SocketAddress> Local(int fd);
  static absl::StatusOr<SocketAddress> Peer(int fd);
  // From the raw bytes of a sockaddr, as an image has them. InvalidArgument: not an address of
  // these kinds.
  static absl::StatusOr<SocketAddress> FromBytes(std::string_view bytes);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t length() const { return length_; }
  int family() const { return storage_.ss_family; }
  std::string_view bytes() const { return {reinterpret_cast<const char*>(&storage_), length_}; }

  std::string host() const;  // numeric; empty for UNIX
  int port() const;          // 0 for UNIX
  // "127.0.0.1:80", "[::1]:80", "unix:/path", "unix:" for an unnamed one, "" for none.
  std::string ToString() const;

 private:
  sockaddr_storage storage_ = {};
  socklen_t length_ = 0;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_SOCKET_ADDRESS_H_
