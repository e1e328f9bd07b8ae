#include "handoff/stand_ins.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace liveexec {
namespace {

// Sockets beyond these get no peer and no address: a server with very many connections must not
// need twice as many fds to be rehearsed, nor a port for each.
constexpr size_t kMaxConnected = 32;

constexpr int kSocketFlags = SOCK_CLOEXEC | SOCK_NONBLOCK;
// 127.0.1.1, 127.0.2.1, ...: not 127.0.0.1, whose ports are the ones that local clients use up.
constexpr in_addr_t kLoopbackAddresses = 16;

UniqueFd Bound(int domain, int type, bool listening) {
  UniqueFd fd(socket(domain, type | kSocketFlags, 0));
  if (!fd) return fd;
  int result = -1;
  if (domain == AF_UNIX) {
    // A name of the kernel's choice in the abstract namespace.
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    result = bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t));
  } else {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    // A server with very many local clients may have used up the ports of an address.
    for (in_addr_t i = 1; i <= kLoopbackAddresses; ++i) {
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (i << 8));
      result = bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
      if (result == 0 || errno != EADDRINUSE) break;
    }
  }
  if (result != 0 || (listening && listen(fd.get(), 1) != 0)) fd.reset();
  return fd;
}

// To bind very many takes its time: the kernel looks for a free port, or name, for each, and where
// a server's local clients have used most of them up, for milliseconds each.
UniqueFd Unbound(int domain, int type) { return UniqueFd(socket(domain, type | kSocketFlags, 0)); }

UniqueFd ConnectedTcp(std::vector<UniqueFd>& peers) {
  UniqueFd listener = Bound(AF_INET, SOCK_STREAM, true);
  if (!listener) return listener;
  sockaddr_in address;
  socklen_t size = sizeof(address);
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  UniqueFd peer(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!peer) return peer;
  // Loopback completes the handshake before connect returns: the connection waits to be accepted.
  if (connect(peer.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return UniqueFd();
  UniqueFd stream(accept4(listener.get(), nullptr, nullptr, kSocketFlags));
  peers.push_back(std::move(peer));
  return stream;
}

UniqueFd ConnectedUnix(int type, std::vector<UniqueFd>& peers) {
  int ends[2];
  if (socketpair(AF_UNIX, type | kSocketFlags, 0, ends) != 0) return UniqueFd();
  peers.emplace_back(ends[1]);
  return UniqueFd(ends[0]);
}

// Open for reading and writing, as its direction is not in the table.
UniqueFd Pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return UniqueFd();
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  std::string path = absl::StrCat("/proc/self/fd/", read_end.get());
  return UniqueFd(open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
}

UniqueFd Terminal(std::vector<UniqueFd>& peers) {
  UniqueFd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  char name[64];
  if (master && grantpt(master.get()) == 0 && unlockpt(master.get()) == 0 &&
      ptsname_r(master.get(), name, sizeof(name)) == 0) {
    UniqueFd slave(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    peers.push_back(std::move(master));
    return slave;
  }
  return UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
}

UniqueFd Signalfd() {
  sigset_t none;
  sigemptyset(&none);
  return UniqueFd(signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK));
}

UniqueFd Make(FdKind kind, bool with_peer, std::vector<UniqueFd>& peers) {
  switch (kind) {
    case FdKind::kTcpListener:
      return Bound(AF_INET, SOCK_STREAM, true);
    case FdKind::kTcpStream:
      return with_peer ? ConnectedTcp(peers) : Unbound(AF_INET, SOCK_STREAM);
    case FdKind::kUdp:
      return with_peer ? Bound(AF_INET, SOCK_DGRAM, false) : Unbound(AF_INET, SOCK_DGRAM);
    case FdKind::kUnixListener:
      return Bound(AF_UNIX, SOCK_STREAM, true);
    case FdKind::kUnixStream:
      return with_peer ? ConnectedUnix(SOCK_STREAM, peers) : Unbound(AF_UNIX, SOCK_STREAM);
    case FdKind::kUnixDatagram:
      return Bound(AF_UNIX, SOCK_DGRAM, false);
    case FdKind::kUnixSeqpacket:
      return ConnectedUnix(SOCK_SEQPACKET, peers);
    case FdKind::kOtherSocket:
      return Bound(AF_UNIX, SOCK_DGRAM, false);
    case FdKind::kPipe:
      return Pipe();
    case FdKind::kFile:
    case FdKind::kMemfd:
      return UniqueFd(memfd_create("liveexec-stand-in", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    case FdKind::kDirectory:
      return UniqueFd(open("/", O_DIRECTORY | O_RDONLY | O_CLOEXEC));
    case FdKind::kTerminal:
      return Terminal(peers);
    case FdKind::kEventfd:
      return UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    case FdKind::kTimerfd:
      return UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    case FdKind::kSignalfd:
      return Signalfd();
    case FdKind::kInotify:
      return UniqueFd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    case FdKind::kEpoll:
      return UniqueFd(epoll_create1(EPOLL_CLOEXEC));
    case FdKind::kPidfd:
      return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
    case FdKind::kUnknown:
    case FdKind::kDevice:
    case FdKind::kIoUring:
    case FdKind::kUserfaultfd:
      break;
  }
  return UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
}

std::string RoleKey(std::string_view component, std::string_view role) {
  return absl::StrCat(std::string(component), "/", std::string(role));
}

}  // namespace

absl::StatusOr<UniqueFd> MakeStandIn(FdKind kind, bool with_peer, std::vector<UniqueFd>& peers) {
  UniqueFd fd = Make(kind, with_peer, peers);
  if (!fd) {
    return ErrnoError(errno, absl::StrCat("make a stand-in for a ", std::string(FdKindName(kind))));
  }
  return fd;
}

StandInFds::StandInFds(std::vector<FdEntry> entries, std::vector<UniqueFd> lent)
    : entries_(std::move(entries)), taken_(entries_.size()) {
  size_t next = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].lent && next < lent.size()) lent_[i] = std::move(lent[next++]);
    roles_[RoleKey(entries_[i].component, entries_[i].role)].push_back(i);
  }
  for (auto& [role, indexes] : roles_) {
    std::stable_sort(indexes.begin(), indexes.end(),
                     [&](size_t a, size_t b) { return entries_[a].number < entries_[b].number; });
  }
}

absl::StatusOr<UniqueFd> StandInFds::Take(std::string_view component, std::string_view role,
                                          uint64_t number) {
  auto name = [&] { return absl::StrCat(RoleKey(component, role), "/", number); };
  auto found = roles_.find(RoleKey(component, role));
  if (found != roles_.end()) {
    auto index =
        std::lower_bound(found->second.begin(), found->second.end(), number,
                         [&](size_t at, uint64_t wanted) { return entries_[at].number < wanted; });
    if (index != found->second.end() && entries_[*index].number == number) {
      if (taken_[*index]) {
        return absl::FailedPreconditionError(absl::StrCat("fd ", name(), " was taken before"));
      }
      taken_[*index] = true;
      if (auto own = lent_.find(*index); own != lent_.end()) return std::move(own->second);
      return MakeStandIn(entries_[*index].identity.kind, connected_++ < kMaxConnected, peers_);
    }
  }
  return absl::NotFoundError(absl::StrCat("no fd was carried as ", name()));
}

std::vector<uint64_t> StandInFds::Numbers(std::string_view component, std::string_view role) const {
  std::vector<uint64_t> numbers;
  auto found = roles_.find(RoleKey(component, role));
  if (found == roles_.end()) return numbers;
  for (size_t index : found->second) {
    if (!taken_[index]) numbers.push_back(entries_[index].number);
  }
  return numbers;
}

}  // namespace liveexec
