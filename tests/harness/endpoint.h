// Endpoint: where a server listens; Dial: a connection to it.
#ifndef LIVEEXEC_TESTS_HARNESS_ENDPOINT_H_
#define LIVEEXEC_TESTS_HARNESS_ENDPOINT_H_

#include <string>

#include "absl/status/statusor.h"
#include "core/unique_fd.h"

namespace liveexec::harness {

struct Endpoint {
  std::string host;        // an IPv4 address, for TCP
  int port = 0;            // for TCP
  std::string unix_path;   // for a UNIX stream socket
  bool datagrams = false;  // UDP instead of TCP

  static Endpoint Tcp(int port, std::string host = "127.0.0.1") {
    return {std::move(host), port, ""};
  }
  static Endpoint Udp(int port, std::string host = "127.0.0.1") {
    return {std::move(host), port, "", true};
  }
  static Endpoint Unix(std::string path) { return {"", 0, std::move(path)}; }
  std::string ToString() const;  // "127.0.0.1:6379", "udp 127.0.0.1:53", "unix:/tmp/x"
};

struct DialOptions {
  int receive_buffer = 0;  // SO_RCVBUF in bytes; 0 leaves the default
};

// A connected, blocking socket, CLOEXEC, without Nagle's delay (so that each write is a segment of
// its own). Waits at most 20 s for the server to take the connection.
absl::StatusOr<UniqueFd> Dial(const Endpoint& endpoint, const DialOptions& options = {});

// What our end of a connection is called: "127.0.0.1:51234", or "unix fd 7".
std::string LocalName(int fd);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_ENDPOINT_H_
