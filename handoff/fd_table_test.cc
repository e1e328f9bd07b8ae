#include "handoff/fd_table.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/testing/faulty_syscalls.h"
#include "core/testing/open_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Syscalls& Kernel() { return Syscalls::Kernel(); }

struct Specimen {
  FdKind kind;
  UniqueFd fd;
};

UniqueFd Listening(int domain, int type) {
  UniqueFd fd(socket(domain, type | SOCK_CLOEXEC, 0));
  sa_family_t family = static_cast<sa_family_t>(domain);
  sockaddr_storage address = {};
  address.ss_family = family;
  // UNIX: an abstract name of the kernel's choice; the others: port 0.
  socklen_t size = domain == AF_UNIX ? sizeof(family) : sizeof(address);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(listen(fd.get(), 1), 0);
  return fd;
}

UniqueFd OneEnd(int type) {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
  close(ends[1]);
  return UniqueFd(ends[0]);
}

UniqueFd PipeEnd() {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  close(ends[1]);
  return UniqueFd(ends[0]);
}

UniqueFd IoUring() {
  struct io_uring_params params = {};
  return UniqueFd(static_cast<int>(syscall(SYS_io_uring_setup, 2, &params)));
}

// One of every kind that this process can make. Kinds that need rights may be missing.
std::vector<Specimen> Specimens() {
  std::vector<Specimen> all;
  auto add = [&](FdKind kind, UniqueFd fd) { all.push_back({kind, std::move(fd)}); };
  add(FdKind::kTcpListener, Listening(AF_INET, SOCK_STREAM));
  add(FdKind::kTcpStream, UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  add(FdKind::kUdp, UniqueFd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
  add(FdKind::kUnixListener, Listening(AF_UNIX, SOCK_STREAM));
  add(FdKind::kUnixListener, Listening(AF_UNIX, SOCK_SEQPACKET));
  add(FdKind::kUnixStream, OneEnd(SOCK_STREAM));
  add(FdKind::kUnixDatagram, OneEnd(SOCK_DGRAM));
  add(FdKind::kUnixSeqpacket, OneEnd(SOCK_SEQPACKET));
  add(FdKind::kOtherSocket, UniqueFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)));
  add(FdKind::kPipe, PipeEnd());
  add(FdKind::kFile, UniqueFd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)));
  add(FdKind::kFile, UniqueFd(open("/proc/self/exe", O_PATH | O_CLOEXEC)));
  add(FdKind::kDirectory, UniqueFd(open("/", O_RDONLY | O_CLOEXEC)));
  add(FdKind::kDirectory, UniqueFd(open("/", O_PATH | O_CLOEXEC)));
  add(FdKind::kMemfd, UniqueFd(memfd_create("test", MFD_CLOEXEC)));
  add(FdKind::kTerminal, UniqueFd(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)));
  add(FdKind::kDevice, UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)));
  add(FdKind::kEventfd, UniqueFd(eventfd(0, EFD_CLOEXEC)));
  add(FdKind::kTimerfd, UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)));
  sigset_t set;
  sigemptyset(&set);
  add(FdKind::kSignalfd, UniqueFd(signalfd(-1, &set, SFD_CLOEXEC)));
  add(FdKind::kInotify, UniqueFd(inotify_init1(IN_CLOEXEC)));
  add(FdKind::kEpoll, UniqueFd(epoll_create1(EPOLL_CLOEXEC)));
  add(FdKind::kPidfd, UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0))));
  add(FdKind::kIoUring, IoUring());
  add(FdKind::kUserfaultfd, UniqueFd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC))));
  all.erase(std::remove_if(all.begin(), all.end(), [](const Specimen& one) { return !one.fd; }),
            all.end());
  return all;
}

TEST(FdInspector, TellsEveryKindOfFd) {
  FdInspector inspector(Kernel());
  std::vector<Specimen> all = Specimens();
  EXPECT_GE(all.size(), 20u);
  for (const Specimen& one : all) {
    auto identity = inspector.Inspect(one.fd.get());
    ASSERT_TRUE(identity.ok()) << FdKindName(one.kind) << ": " << identity.status();
    EXPECT_EQ(FdKindName(identity->kind), FdKindName(one.kind));
    EXPECT_TRUE(inspector.Matches(one.fd.get(), *identity).ok()) << FdKindName(one.kind);
  }
}

TEST(FdInspector, NoFdMatchesTheIdentityOfAnother) {
  FdInspector inspector(Kernel());
  std::vector<Specimen> all = Specimens();
  for (const Specimen& one : all) {
    FdIdentity identity = *inspector.Inspect(one.fd.get());
    for (const Specimen& other : all) {
      // The same file, opened in two ways, is the same file.
      if (other.kind == one.kind) continue;
      absl::Status status = inspector.Matches(other.fd.get(), identity);
      EXPECT_EQ(CodeOf(status), "E_FDTABLE")
          << FdKindName(other.kind) << " instead of " << FdKindName(one.kind) << ": " << status;
      EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    }
  }
}

TEST(FdInspector, TellsTwoSocketsPipesAndMemfdsOfOneKindApart) {
  FdInspector inspector(Kernel());
  for (auto make : {+[] { return OneEnd(SOCK_STREAM); }, +[] { return PipeEnd(); },
                    +[] { return UniqueFd(memfd_create("same name", MFD_CLOEXEC)); }}) {
    UniqueFd one = make(), other = make();
    UniqueFd duplicate(fcntl(one.get(), F_DUPFD_CLOEXEC, 0));
    FdIdentity identity = *inspector.Inspect(one.get());
    EXPECT_TRUE(inspector.Matches(duplicate.get(), identity).ok());
    EXPECT_EQ(CodeOf(inspector.Matches(other.get(), identity)), "E_FDTABLE");
  }
}

TEST(FdInspector, AClosedFdIsAnErrorWithItsErrno) {
  FdInspector inspector(Kernel());
  EXPECT_EQ(ErrnoOf(inspector.Inspect(-1).status()), EBADF);
  UniqueFd fd = PipeEnd();
  int number = fd.get();
  FdIdentity identity = *inspector.Inspect(number);
  fd.reset();
  EXPECT_EQ(ErrnoOf(inspector.Inspect(number).status()), EBADF);
  EXPECT_FALSE(inspector.Matches(number, identity).ok());
}

TEST(FdInspector, ASocketThatItHasSeenCostsOneSystemCall) {
  FaultySyscalls syscalls;
  FdInspector inspector(syscalls);
  UniqueFd fd = OneEnd(SOCK_STREAM);
  ASSERT_TRUE(inspector.Inspect(fd.get()).ok());
  size_t before = syscalls.calls().size();
  ASSERT_TRUE(inspector.Inspect(fd.get()).ok());
  EXPECT_EQ(syscalls.calls().size(), before + 1);
}

TEST(FdInspector, WhatItHasSeenCostsOneSystemCallWhenItIsLookedAtAgain) {
  FaultySyscalls syscalls;
  FdInspector inspector(syscalls);
  for (const Specimen& one : Specimens()) {
    const FdIdentity seen = *inspector.Inspect(one.fd.get());
    const size_t before = syscalls.calls().size();
    auto again = inspector.InspectAgain(one.fd.get());
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(syscalls.calls().size(), before + 1) << FdKindName(one.kind);
    EXPECT_EQ(again->kind, seen.kind);
    EXPECT_EQ(again->inode, seen.inode);
    EXPECT_EQ(again->device, seen.device);
    EXPECT_EQ(again->socket_cookie, seen.socket_cookie);
  }
}

TEST(FdInspector, AnotherFdUnderANumberThatItHasSeenIsFoundOut) {
  FdInspector inspector(Kernel());
  std::vector<Specimen> all = Specimens();
  const int number = fcntl(all[0].fd.get(), F_DUPFD_CLOEXEC, 0);
  for (const Specimen& first : all) {
    for (const Specimen& second : all) {
      if (SharesInode(first.kind) && SharesInode(second.kind)) continue;
      ASSERT_EQ(dup3(first.fd.get(), number, O_CLOEXEC), number);
      ASSERT_TRUE(inspector.Inspect(number).ok());
      ASSERT_EQ(dup3(second.fd.get(), number, O_CLOEXEC), number);
      auto again = inspector.InspectAgain(number);
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_EQ(FdKindName(again->kind), FdKindName(second.kind))
          << "after a " << FdKindName(first.kind);
    }
  }
  close(number);
  EXPECT_EQ(ErrnoOf(inspector.InspectAgain(number).status()), EBADF);
}

TEST(WhyNotCarriable, RefusesByNameWhatExecDestroys) {
  EXPECT_NE(WhyNotCarriable(FdKind::kIoUring), "");
  EXPECT_NE(WhyNotCarriable(FdKind::kUserfaultfd), "");
  for (FdKind kind : {FdKind::kTcpStream, FdKind::kFile, FdKind::kEpoll, FdKind::kUnknown}) {
    EXPECT_EQ(WhyNotCarriable(kind), "");
  }
}

TEST(FdKindName, NamesNumbersThatNobodyUsesToo) {
  EXPECT_EQ(FdKindName(FdKind::kTcpStream), "tcp stream");
  EXPECT_EQ(FdKindName(static_cast<FdKind>(60000)), "unknown");
}

std::vector<UniqueFd> Memfds(size_t count) {
  std::vector<UniqueFd> fds;
  for (size_t i = 0; i < count; ++i) fds.emplace_back(memfd_create("test", MFD_CLOEXEC));
  return fds;
}

FdEntry Entry(std::string component, std::string role, uint64_t number,
              FdKind kind = FdKind::kMemfd) {
  return {std::move(component), std::move(role), number, {.kind = kind}};
}

TEST(EscrowFds, HandsEachFdOutOnceUnderItsRole) {
  std::vector<UniqueFd> fds = Memfds(4);
  int numbers[4];
  for (size_t i = 0; i < 4; ++i) numbers[i] = fds[i].get();
  auto escrow = EscrowFds::Create({Entry("a", "client", 9), Entry("b", "client", 9),
                                   Entry("a", "listener", 0), Entry("a", "client", 2)},
                                  std::move(fds));
  ASSERT_TRUE(escrow.ok()) << escrow.status();
  EXPECT_EQ(escrow->size(), 4u);
  EXPECT_THAT(escrow->Numbers("a", "client"), ElementsAre(2, 9));
  auto taken = escrow->Take("a", "client", 9);
  ASSERT_TRUE(taken.ok());
  EXPECT_EQ(taken->get(), numbers[0]);
  EXPECT_THAT(escrow->Numbers("a", "client"), ElementsAre(2));
  EXPECT_TRUE(absl::IsFailedPrecondition(escrow->Take("a", "client", 9).status()));
  EXPECT_EQ(escrow->Take("b", "client", 9)->get(), numbers[1]);
  EXPECT_EQ(escrow->Take("a", "client", 2)->get(), numbers[3]);
  EXPECT_THAT(escrow->NotTaken(10), ElementsAre("a/listener/0 (memfd)"));
}

TEST(EscrowFds, WhatWasNotCarriedIsNotFound) {
  auto escrow = EscrowFds::Create({Entry("a", "client", 1)}, Memfds(1));
  ASSERT_TRUE(escrow.ok());
  EXPECT_TRUE(absl::IsNotFound(escrow->Take("a", "client", 2).status()));
  EXPECT_TRUE(absl::IsNotFound(escrow->Take("a", "clients", 1).status()));
  EXPECT_TRUE(absl::IsNotFound(escrow->Take("b", "client", 1).status()));
  EXPECT_THAT(escrow->Numbers("b", "client"), IsEmpty());
}

TEST(EscrowFds, TwoFdsUnderOneRoleAreRefused) {
  // Beside each other, and apart.
  for (bool apart : {false, true}) {
    std::vector<FdEntry> entries = {Entry("a", "client", 1)};
    if (apart) entries.push_back(Entry("a", "listener", 0));
    entries.push_back(Entry("a", "client", 1));
    std::vector<UniqueFd> fds = Memfds(entries.size());
    auto escrow = EscrowFds::Create(std::move(entries), std::move(fds));
    EXPECT_TRUE(absl::IsAlreadyExists(escrow.status())) << escrow.status();
    EXPECT_EQ(CodeOf(escrow.status()), "E_FDTABLE");
  }
}

TEST(EscrowFds, MoreEntriesThanFdsAreRefusedAndNothingLeaks) {
  auto before = OpenFiles();
  EXPECT_FALSE(EscrowFds::Create({Entry("a", "x", 0), Entry("a", "y", 0)}, Memfds(1)).ok());
  EXPECT_FALSE(EscrowFds::Create({}, Memfds(1)).ok());
  {
    auto escrow = EscrowFds::Create({Entry("a", "x", 0)}, Memfds(1));
    ASSERT_TRUE(escrow.ok());
  }
  EXPECT_EQ(OpenFiles(), before) << "what nobody took is closed";
}

TEST(EscrowFds, NotTakenNamesAtMostAsManyAsAsked) {
  std::vector<FdEntry> entries;
  for (uint64_t i = 0; i < 10; ++i) entries.push_back(Entry("a", "client", i, FdKind::kTcpStream));
  auto escrow = EscrowFds::Create(std::move(entries), Memfds(10));
  ASSERT_TRUE(escrow.ok());
  EXPECT_THAT(escrow->NotTaken(2),
              ElementsAre("a/client/0 (tcp stream)", "a/client/1 (tcp stream)"));
  EXPECT_EQ(escrow->NotTaken(100).size(), 10u);
}

TEST(EscrowFds, TenThousandFdsOfOneRoleAreFoundByNumberInAnyOrder) {
  // Empty owners stand for fds: what matters is which slot is found.
  constexpr uint64_t kCount = 10'000;
  std::vector<FdEntry> entries;
  std::vector<UniqueFd> fds(kCount);
  for (uint64_t i = 0; i < kCount; ++i) entries.push_back(Entry("a", "client", kCount - i));
  fds[17] = UniqueFd(memfd_create("test", MFD_CLOEXEC));
  int number = fds[17].get();
  auto escrow = EscrowFds::Create(std::move(entries), std::move(fds));
  ASSERT_TRUE(escrow.ok());
  EXPECT_THAT(escrow->Numbers("a", "client"), ElementsAre(kCount - 17));
  EXPECT_EQ(escrow->Take("a", "client", kCount - 17)->get(), number);
}

}  // namespace
}  // namespace liveexec
