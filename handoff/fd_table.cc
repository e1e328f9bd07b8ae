#include "handoff/fd_table.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

struct KindRow {
  FdKind kind;
  std::string_view name;
  std::string_view why_not;  // empty: can be carried
};

constexpr KindRow kKinds[] = {
    {FdKind::kUnknown, "unknown", ""},
    {FdKind::kTcpListener, "tcp listener", ""},
    {FdKind::kTcpStream, "tcp stream", ""},
    {FdKind::kUdp, "udp socket", ""},
    {FdKind::kUnixListener, "unix listener", ""},
    {FdKind::kUnixStream, "unix stream", ""},
    {FdKind::kUnixDatagram, "unix datagram socket", ""},
    {FdKind::kUnixSeqpacket, "unix seqpacket socket", ""},
    {FdKind::kOtherSocket, "socket", ""},
    {FdKind::kPipe, "pipe", ""},
    {FdKind::kFile, "file", ""},
    {FdKind::kDirectory, "directory", ""},
    {FdKind::kMemfd, "memfd", ""},
    {FdKind::kTerminal, "terminal", ""},
    {FdKind::kDevice, "device", ""},
    {FdKind::kEventfd, "eventfd", ""},
    {FdKind::kTimerfd, "timerfd", ""},
    {FdKind::kSignalfd, "signalfd", ""},
    {FdKind::kInotify, "inotify", ""},
    {FdKind::kEpoll, "epoll", ""},
    {FdKind::kPidfd, "pidfd", ""},
    {FdKind::kIoUring, "io_uring", "the kernel refuses to pass an io_uring; close it in Quiesce"},
    {FdKind::kUserfaultfd, "userfaultfd", "a userfaultfd is dead after exec; close it in Quiesce"},
};

const KindRow& RowOf(FdKind kind) {
  for (const KindRow& row : kKinds) {
    if (row.kind == kind) return row;
  }
  return kKinds[0];
}

FdKind KindOfSocket(int domain, int type, bool listening) {
  if (domain == AF_UNIX) {
    if (listening) return FdKind::kUnixListener;
    if (type == SOCK_STREAM) return FdKind::kUnixStream;
    return type == SOCK_SEQPACKET ? FdKind::kUnixSeqpacket : FdKind::kUnixDatagram;
  }
  if (domain == AF_INET || domain == AF_INET6) {
    if (type == SOCK_STREAM) return listening ? FdKind::kTcpListener : FdKind::kTcpStream;
    if (type == SOCK_DGRAM) return FdKind::kUdp;
  }
  return FdKind::kOtherSocket;
}

FdKind KindOfMode(mode_t mode, dev_t device) {
  if (S_ISFIFO(mode)) return FdKind::kPipe;
  if (S_ISREG(mode)) return FdKind::kFile;
  if (S_ISDIR(mode)) return FdKind::kDirectory;
  constexpr unsigned kTtyMajor = 5, kPtsMajor = 136, kVtMajor = 4;
  if (S_ISCHR(mode)) {
    unsigned type = static_cast<unsigned>((device >> 8) & 0xfff);
    bool terminal = type == kTtyMajor || type == kVtMajor || (type >= kPtsMajor && type < 144);
    return terminal ? FdKind::kTerminal : FdKind::kDevice;
  }
  return S_ISBLK(mode) ? FdKind::kDevice : FdKind::kUnknown;
}

absl::Status Mismatch(std::string_view what) {
  return CodedError("E_FDTABLE", absl::StatusCode::kDataLoss,
                    absl::StrCat("a carried fd is not the one in the table: ", std::string(what)));
}

}  // namespace

std::string_view FdKindName(FdKind kind) { return RowOf(kind).name; }

bool SharesInode(FdKind kind) { return kind >= FdKind::kEventfd && kind <= FdKind::kUserfaultfd; }

std::string_view WhyNotCarriable(FdKind kind) { return RowOf(kind).why_not; }

absl::StatusOr<FdIdentity> FdInspector::InspectAgain(int fd) {
  const Known* known = FindKnown(fd);
  struct stat file;
  if (known != nullptr && known->identity.socket_cookie == 0 && syscalls_.Fstat(fd, &file) == 0 &&
      file.st_dev == known->identity.device && file.st_ino == known->identity.inode &&
      KindOfMode(file.st_mode, file.st_rdev) == known->by_mode) {
    return known->identity;
  }
  return Inspect(fd);
}

absl::StatusOr<FdIdentity> FdInspector::Inspect(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  int result = syscalls_.Getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
  if (result == 0) return InspectSocket(fd, cookie);
  // An O_PATH fd is EBADF for everything but fstat, which tells it from a closed one.
  if (result != -ENOTSOCK && result != -EBADF) return ErrnoError(-result, "inspect fd");
  struct stat file;
  if (result = syscalls_.Fstat(fd, &file); result < 0) return ErrnoError(-result, "fstat");
  FdIdentity identity;
  const FdKind by_mode = KindOfMode(file.st_mode, file.st_rdev);
  identity.kind = by_mode;
  if (identity.kind == FdKind::kFile || identity.kind == FdKind::kUnknown) {
    FdKind anonymous = KindOfAnonymous(fd);
    if (anonymous != FdKind::kUnknown) identity.kind = anonymous;
  }
  identity.device = file.st_dev;
  identity.inode = file.st_ino;
  Remember(fd, identity, by_mode);
  return identity;
}

FdInspector::Known* FdInspector::FindKnown(int fd) {
  const auto index = static_cast<size_t>(fd);
  if (fd < 0 || index >= known_.size() || !known_[index].inspected) return nullptr;
  return &known_[index];
}

void FdInspector::Remember(int fd, const FdIdentity& identity, FdKind by_mode) {
  const auto index = static_cast<size_t>(fd);
  if (index >= known_.size()) known_.resize(index + 1);
  known_[index] = {true, identity, by_mode};
}

FdIdentity FdInspector::InspectSocket(int fd, uint64_t cookie) {
  const Known* known = FindKnown(fd);
  if (known != nullptr && known->identity.socket_cookie == cookie) return known->identity;
  auto option = [&](int name) {
    int value = -1;
    socklen_t size = sizeof(value);
    syscalls_.Getsockopt(fd, SOL_SOCKET, name, &value, &size);
    return value;
  };
  FdIdentity identity;
  identity.kind = KindOfSocket(option(SO_DOMAIN), option(SO_TYPE), option(SO_ACCEPTCONN) == 1);
  identity.socket_cookie = cookie;
  Remember(fd, identity, FdKind::kUnknown);
  return identity;
}

FdKind FdInspector::KindOfAnonymous(int fd) {
  char path[64], target[128];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  int64_t length = syscalls_.Readlink(path, target, sizeof(target));
  if (length < 0) return FdKind::kUnknown;
  std::string_view text(target, static_cast<size_t>(length));
  constexpr std::pair<std::string_view, FdKind> kNames[] = {
      {"anon_inode:[eventfd]", FdKind::kEventfd},
      {"anon_inode:[timerfd]", FdKind::kTimerfd},
      {"anon_inode:[signalfd]", FdKind::kSignalfd},
      {"anon_inode:inotify", FdKind::kInotify},
      {"anon_inode:[eventpoll]", FdKind::kEpoll},
      {"anon_inode:[pidfd]", FdKind::kPidfd},
      {"pidfd:", FdKind::kPidfd},
      {"anon_inode:[io_uring]", FdKind::kIoUring},
      {"anon_inode:[userfaultfd]", FdKind::kUserfaultfd},
      {"/memfd:", FdKind::kMemfd},
  };
  for (const auto& [prefix, kind] : kNames) {
    if (text.starts_with(prefix)) return kind;
  }
  return FdKind::kUnknown;
}

absl::Status FdInspector::Matches(int fd, const FdIdentity& expected, Depth depth) {
  if (expected.socket_cookie != 0) {
    uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    int result = syscalls_.Getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
    if (result < 0) return Mismatch("a socket was expected");
    return cookie == expected.socket_cookie ? absl::OkStatus() : Mismatch("another socket");
  }
  struct stat file;
  if (int result = syscalls_.Fstat(fd, &file); result < 0) return ErrnoError(-result, "fstat");
  bool same = file.st_dev == expected.device && file.st_ino == expected.inode;
  // Anonymous inodes are one inode for eventfds, timerfds and all the others.
  if (same && depth == Depth::kAll && SharesInode(expected.kind))
    same = KindOfAnonymous(fd) == expected.kind;
  return same ? absl::OkStatus() : Mismatch("another inode");
}

absl::StatusOr<EscrowFds> EscrowFds::Create(std::vector<FdEntry> entries,
                                            std::vector<UniqueFd> fds) {
  if (entries.size() != fds.size()) {
    return Mismatch(absl::StrCat(fds.size(), " fds for ", entries.size(), " entries"));
  }
  EscrowFds escrow;
  escrow.entries_ = std::move(entries);
  escrow.fds_ = std::move(fds);
  std::vector<Slot>* slots = nullptr;
  const FdEntry* previous = nullptr;
  for (size_t i = 0; i < escrow.entries_.size(); ++i) {
    const FdEntry& entry = escrow.entries_[i];
    // Entries of one role stand together: most look-ups are saved.
    if (previous == nullptr || entry.role != previous->role ||
        entry.component != previous->component) {
      slots = &escrow.roles_[Role(entry.component, entry.role)];
    }
    slots->push_back({entry.number, i});
    previous = &entry;
  }
  for (auto& [role, list] : escrow.roles_) {
    auto by_number = [](const Slot& a, const Slot& b) { return a.number < b.number; };
    if (!std::is_sorted(list.begin(), list.end(), by_number)) {
      std::sort(list.begin(), list.end(), by_number);
    }
    auto same = [](const Slot& a, const Slot& b) { return a.number == b.number; };
    auto twin = std::adjacent_find(list.begin(), list.end(), same);
    if (twin != list.end()) {
      return CodedError(
          "E_FDTABLE", absl::StatusCode::kAlreadyExists,
          absl::StrCat("two fds are carried as ", role.first, "/", role.second, "/", twin->number));
    }
  }
  return escrow;
}

const std::vector<EscrowFds::Slot>* EscrowFds::FindRole(std::string_view component,
                                                        std::string_view role) const {
  auto found = roles_.find(Role(component, role));
  return found == roles_.end() ? nullptr : &found->second;
}

absl::StatusOr<UniqueFd> EscrowFds::Take(std::string_view component, std::string_view role,
                                         uint64_t number) {
  auto name = [&] {
    return absl::StrCat(std::string(component), "/", std::string(role), "/", number);
  };
  const std::vector<Slot>* slots = FindRole(component, role);
  if (slots != nullptr) {
    auto slot = std::lower_bound(slots->begin(), slots->end(), number,
                                 [](const Slot& a, uint64_t wanted) { return a.number < wanted; });
    if (slot != slots->end() && slot->number == number) {
      if (!fds_[slot->index]) {
        return absl::FailedPreconditionError(absl::StrCat("fd ", name(), " was taken before"));
      }
      return std::move(fds_[slot->index]);
    }
  }
  return absl::NotFoundError(absl::StrCat("no fd was carried as ", name()));
}

std::vector<uint64_t> EscrowFds::Numbers(std::string_view component, std::string_view role) const {
  std::vector<uint64_t> numbers;
  const std::vector<Slot>* slots = FindRole(component, role);
  if (slots == nullptr) return numbers;
  for (const Slot& slot : *slots) {
    if (fds_[slot.index]) numbers.push_back(slot.number);
  }
  return numbers;
}

std::vector<std::string> EscrowFds::NotTaken(size_t limit) const {
  std::vector<std::string> names;
  for (size_t i = 0; i < entries_.size() && names.size() < limit; ++i) {
    const FdEntry& entry = entries_[i];
    if (!fds_[i]) continue;
    names.push_back(absl::StrCat(entry.component, "/", entry.role, "/", entry.number, " (",
                                 std::string(FdKindName(entry.identity.kind)), ")"));
  }
  return names;
}

}  // namespace liveexec
