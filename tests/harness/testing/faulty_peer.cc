// A server with one known fault, for the harness to find: an echo server, or a relay in front of a
// real one.
//
//   faulty_peer FAULT POSITION [UNIX_PATH]
//
// Listens on a port of its own choice and prints "listening on tcp 127.0.0.1:PORT". The fault
// strikes once, in the first connection that sends a reply byte number POSITION (and in none when
// FAULT is "none"):
//   drop     that byte is left out            double   it is sent twice
//   alter    one bit of it is turned          swap     it and the 50 bytes after it change places
//   with the
//                                                      50 after them
//   close    the connection ends before it    insert   "-ERR surprise\r\n" comes before it
// With UNIX_PATH, bytes go to the server that listens there, and its replies are spoilt instead of
// echoes.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "tests/harness/endpoint.h"

namespace {

using liveexec::UniqueFd;
using liveexec::harness::Dial;
using liveexec::harness::Endpoint;

std::atomic<bool> struck{false};

bool WriteAll(int fd, const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t count = send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    done += static_cast<size_t>(count);
  }
  return true;
}

// One connection's replies on their way to the client.
class Spoiler {
 public:
  Spoiler(std::string fault, size_t position) : fault_(std::move(fault)), position_(position) {}

  // What to send for `bytes`; sets `close` when the connection is to end after it.
  std::string Pass(std::string bytes, bool& close) {
    const size_t start = passed_;
    passed_ += bytes.size();
    if (!held_.empty()) return Release(bytes);
    if (fault_ == "none" || position_ < start || position_ >= passed_ || struck.exchange(true))
      return bytes;
    const size_t at = position_ - start;
    if (fault_ == "drop") bytes.erase(at, 1);
    if (fault_ == "double") bytes.insert(at, 1, bytes[at]);
    if (fault_ == "alter") bytes[at] = static_cast<char>(bytes[at] ^ 1);
    if (fault_ == "insert") bytes.insert(at, "-ERR surprise\r\n");
    if (fault_ == "close") {
      close = true;
      bytes.resize(at);
    }
    if (fault_ == "swap") {
      held_ = bytes.substr(at);
      bytes.resize(at);
      return bytes + Release("");
    }
    return bytes;
  }

 private:
  static constexpr size_t kBlock = 50;

  std::string Release(const std::string& more) {
    held_ += more;
    if (held_.size() < 2 * kBlock) return "";
    std::string swapped =
        held_.substr(kBlock, kBlock) + held_.substr(0, kBlock) + held_.substr(2 * kBlock);
    held_.clear();
    return swapped;
  }

  std::string fault_;
  size_t position_;
  size_t passed_ = 0;
  std::string held_;
};

// Copies from one socket to another until EOF.
void Relay(int from, int to, Spoiler spoiler) {
  std::array<char, 65536> buffer;
  bool close = false;
  while (!close) {
    const ssize_t count = recv(from, buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    if (!WriteAll(to, spoiler.Pass(std::string(buffer.data(), static_cast<size_t>(count)), close)))
      break;
  }
  shutdown(to, close ? SHUT_RDWR : SHUT_WR);
}

void Serve(UniqueFd client, const std::string& fault, size_t position,
           const std::string& upstream) {
  const int on = 1;
  setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (upstream.empty()) {
    Relay(client.get(), client.get(), Spoiler(fault, position));
    return;
  }
  auto server = Dial(Endpoint::Unix(upstream));
  if (!server.ok()) return;
  std::thread requests([&] { Relay(client.get(), server->get(), Spoiler("none", 0)); });
  Relay(server->get(), client.get(), Spoiler(fault, position));
  shutdown(client.get(), SHUT_RDWR);
  requests.join();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s FAULT POSITION [UNIX_PATH]\n", argv[0]);
    return 2;
  }
  const std::string fault = argv[1];
  const size_t position = std::strtoul(argv[2], nullptr, 10);
  const std::string upstream = argc > 3 ? argv[3] : "";
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listener.get(), 4096) != 0 ||
      getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    std::perror("listen");
    return 1;
  }
  std::printf("listening on tcp 127.0.0.1:%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  while (true) {
    UniqueFd client(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    std::thread(Serve, std::move(client), fault, position, upstream).detach();
  }
}
