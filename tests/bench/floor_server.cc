#include "tests/bench/floor_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace liveexec::bench {
namespace {

// What crosses in the arguments. The connections are the fds after `signals`, up to `highest`.
struct Inherited {
  int listener = -1;
  int signals = -1;
  int epoll = -1;
  int highest = -1;
};

[[noreturn]] void Die(const char* what) {
  perror(what);
  exit(1);
}

void Watch(int epoll, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  // A number below the highest may be free: its connection has ended.
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0 && errno != EBADF) Die("epoll_ctl");
}

int BlockedHangup() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGHUP);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  const int fd = signalfd(-1, &set, 0);
  if (fd < 0) Die("signalfd");
  return fd;
}

Inherited StartFresh(int port) {
  // What the shell left open would lie among the connections.
  close_range(STDERR_FILENO + 1, ~0U, 0);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  Inherited state;
  state.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  socklen_t size = sizeof(address);
  if (bind(state.listener, reinterpret_cast<sockaddr*>(&address), size) != 0) Die("bind");
  if (listen(state.listener, 4096) != 0) Die("listen");
  getsockname(state.listener, reinterpret_cast<sockaddr*>(&address), &size);
  state.signals = BlockedHangup();
  state.epoll = epoll_create1(0);
  state.highest = state.epoll;
  Watch(state.epoll, state.listener);
  Watch(state.epoll, state.signals);
  printf("listening on tcp 127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return state;
}

// After exec.
Inherited TakeOver(char** numbers, EpollSet set) {
  Inherited state = {atoi(numbers[0]), atoi(numbers[1]), atoi(numbers[2]), atoi(numbers[3])};
  if (set == EpollSet::kInherited) return state;
  const int old = state.epoll;
  state.epoll = epoll_create1(0);
  for (int fd = state.listener; fd <= state.highest; ++fd) {
    if (fd != old && fd != state.epoll) Watch(state.epoll, fd);
  }
  close(old);
  // The old set's number is free, and the next connection's: those between stay in the range.
  if (state.epoll > state.highest) state.highest = state.epoll;
  return state;
}

// No std::string: without the C++ library the program is half as large.
[[noreturn]] void Exec(char* name, const Inherited& state) {
  const int values[] = {state.listener, state.signals, state.epoll, state.highest};
  char numbers[4][16];
  char port[] = "0";
  char* arguments[] = {name, port, numbers[0], numbers[1], numbers[2], numbers[3], nullptr};
  for (int i = 0; i < 4; ++i) snprintf(numbers[i], sizeof(numbers[i]), "%d", values[i]);
  execv("/proc/self/exe", arguments);
  Die("execv");
}

void Accept(Inherited& state) {
  for (;;) {
    const int fd = accept4(state.listener, nullptr, nullptr, SOCK_NONBLOCK);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (fd > state.highest) state.highest = fd;
    Watch(state.epoll, fd);
  }
}

void Echo(int fd) {
  char bytes[4096];
  const ssize_t size = read(fd, bytes, sizeof(bytes));
  if (size > 0) {
    // Its clients wait for the reply before they send more, so that it always fits.
    if (write(fd, bytes, static_cast<size_t>(size)) != size) close(fd);
  } else if (size == 0 || errno != EAGAIN) {
    close(fd);
  }
}

}  // namespace

int RunFloor(int argc, char** argv, EpollSet set) {
  Inherited state = argc == 6 ? TakeOver(argv + 2, set) : StartFresh(argc > 1 ? atoi(argv[1]) : 0);
  for (;;) {
    epoll_event events[64];
    const int count = epoll_wait(state.epoll, events, 64, -1);
    if (count < 0 && errno != EINTR) Die("epoll_wait");
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == state.listener) {
        Accept(state);
      } else if (fd == state.signals) {
        signalfd_siginfo info;
        if (read(fd, &info, sizeof(info)) == sizeof(info)) Exec(argv[0], state);
      } else {
        Echo(fd);
      }
    }
  }
}

}  // namespace liveexec::bench
