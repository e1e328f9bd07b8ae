// TestClient: a non-blocking client socket for a test that also runs the server, in the same
// thread.
#ifndef LIVEEXEC_HANDOFF_UV_TESTING_TEST_CLIENT_H_
#define LIVEEXEC_HANDOFF_UV_TESTING_TEST_CLIENT_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "core/unique_fd.h"
#include "handoff/uv/socket_address.h"

namespace liveexec::uv::testing {

class TestClient {
 public:
  // Connects (on loopback that needs no server to run: the kernel's queue takes it).
  static TestClient Tcp(const std::string& host, int port, int receive_buffer = 0) {
    auto address = SocketAddress::Resolve(host, port, SOCK_STREAM);
    EXPECT_TRUE(address.ok()) << address.status();
    return TestClient(*address, receive_buffer);
  }
  static TestClient Unix(const std::string& path) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(),
                std::min(path.size(), sizeof(address.sun_path) - 1));
    return TestClient({reinterpret_cast<const sockaddr*>(&address), sizeof(address)}, 0);
  }
  // Over a socket, pipe or TTY that is there already.
  explicit TestClient(UniqueFd fd) : fd_(std::move(fd)) { MakeNonBlocking(); }

  // Writes as much as goes in; returns how much that was.
  size_t SendSome(std::string_view bytes) {
    const ssize_t n = write(fd_.get(), bytes.data(), bytes.size());
    return n < 0 ? 0 : static_cast<size_t>(n);
  }
  void Send(std::string_view bytes) { EXPECT_EQ(SendSome(bytes), bytes.size()); }
  void ShutdownWrite() { EXPECT_EQ(shutdown(fd_.get(), SHUT_WR), 0); }

  // Reads what is there, at most `limit` bytes; returns how much that was.
  size_t ReadSome(size_t limit = SIZE_MAX) {
    size_t total = 0;
    char buffer[64 << 10];
    while (total < limit) {
      const ssize_t n = read(fd_.get(), buffer, std::min(sizeof(buffer), limit - total));
      if (n > 0) {
        received_.append(buffer, static_cast<size_t>(n));
        total += static_cast<size_t>(n);
        continue;
      }
      if (n == 0) ended_ = true;
      if (n < 0 && errno != EAGAIN) reset_ = true;
      break;
    }
    return total;
  }
  // Reads, then says whether exactly `expected` has come.
  bool Has(std::string_view expected) {
    ReadSome();
    return received_ == expected;
  }
  bool Ended() {
    ReadSome();
    return ended_;
  }
  bool EndedOrReset() { return Ended() || reset_; }

  const std::string& received() const { return received_; }
  void ForgetReceived() { received_.clear(); }
  int fd() const { return fd_.get(); }
  void Close() { fd_.reset(); }

 private:
  TestClient(const SocketAddress& address, int receive_buffer)
      : fd_(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer != 0) {
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    EXPECT_EQ(connect(fd_.get(), address.get(), address.length()), 0)
        << address.ToString() << ": " << std::strerror(errno);
    MakeNonBlocking();
  }
  void MakeNonBlocking() { fcntl(fd_.get(), F_SETFL, fcntl(fd_.get(), F_GETFL) | O_NONBLOCK); }

  UniqueFd fd_;
  std::string received_;
  bool ended_ = false;
  bool reset_ = false;
};

}  // namespace liveexec::uv::testing

#endif  // LIVEEXEC_HANDOFF_UV_TESTING_TEST_CLIENT_H_
