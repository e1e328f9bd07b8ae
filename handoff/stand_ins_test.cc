#include "handoff/stand_ins.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace liveexec {
namespace {

StandInFds Table(FdKind kind, uint64_t count) {
  std::vector<FdEntry> entries;
  for (uint64_t i = 0; i < count; ++i) {
    entries.push_back({.component = "c", .role = "r", .number = i, .identity = {.kind = kind}});
  }
  return StandInFds(std::move(entries));
}

// The port that it has; 0: none.
int PortOf(const UniqueFd& fd) {
  sockaddr_in address = {};
  socklen_t size = sizeof(address);
  EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

bool IsConnected(const UniqueFd& fd) {
  sockaddr_storage address;
  socklen_t size = sizeof(address);
  return getpeername(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0;
}

TEST(StandIns, AreOfTheKindThatTheyStandInForAndCloseOnExec) {
  FdInspector inspector(Syscalls::Kernel());
  for (FdKind kind :
       {FdKind::kTcpListener, FdKind::kTcpStream, FdKind::kUdp, FdKind::kUnixListener,
        FdKind::kUnixStream, FdKind::kUnixDatagram, FdKind::kUnixSeqpacket, FdKind::kPipe,
        FdKind::kMemfd, FdKind::kDirectory, FdKind::kEventfd, FdKind::kTimerfd, FdKind::kSignalfd,
        FdKind::kInotify, FdKind::kEpoll, FdKind::kPidfd}) {
    for (bool with_peer : {true, false}) {
      std::vector<UniqueFd> peers;
      auto fd = MakeStandIn(kind, with_peer, peers);
      ASSERT_TRUE(fd.ok()) << FdKindName(kind) << ": " << fd.status();
      EXPECT_EQ(FdKindName(inspector.Inspect(fd->get())->kind), FdKindName(kind));
      EXPECT_EQ(fcntl(fd->get(), F_GETFD), FD_CLOEXEC);
    }
  }
}

TEST(StandIns, OnlyTheFirstConnectionsHaveAPeerAndTheOthersNoPort) {
  for (FdKind kind : {FdKind::kTcpStream, FdKind::kUnixStream}) {
    constexpr uint64_t kCount = 200;
    StandInFds fds = Table(kind, kCount);
    std::vector<UniqueFd> taken;
    for (uint64_t i = 0; i < kCount; ++i) {
      auto fd = fds.Take("c", "r", i);
      ASSERT_TRUE(fd.ok()) << fd.status();
      EXPECT_EQ(IsConnected(*fd), i < 32) << i;
      // However many there are: they are not looked for among ports that clients have used up.
      if (kind == FdKind::kTcpStream) {
        EXPECT_EQ(PortOf(*fd) != 0, i < 32) << i;
      }
      taken.push_back(*std::move(fd));
    }
    // The connected ones are connected to somebody who is there.
    pollfd poll_fd = {taken[0].get(), POLLIN | POLLOUT, 0};
    ASSERT_EQ(poll(&poll_fd, 1, 0), 1);
    EXPECT_EQ(poll_fd.revents, POLLOUT);
  }
}

TEST(StandIns, AreHandedOutOnceAndOnlyUnderTheNamesOfTheTable) {
  StandInFds fds = Table(FdKind::kEventfd, 3);
  EXPECT_EQ(fds.Numbers("c", "r"), (std::vector<uint64_t>{0, 1, 2}));
  ASSERT_TRUE(fds.Take("c", "r", 1).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(fds.Take("c", "r", 1).status()));
  EXPECT_TRUE(absl::IsNotFound(fds.Take("c", "r", 3).status()));
  EXPECT_TRUE(absl::IsNotFound(fds.Take("c", "s", 0).status()));
  EXPECT_EQ(fds.Numbers("c", "r"), (std::vector<uint64_t>{0, 2}));
}

}  // namespace
}  // namespace liveexec
