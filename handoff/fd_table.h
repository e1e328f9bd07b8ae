// The fd table: for each carried fd its role, its kind, and what proves on the other side that it
// is the same one.
#ifndef LIVEEXEC_HANDOFF_FD_TABLE_H_
#define LIVEEXEC_HANDOFF_FD_TABLE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"
#include "handoff/component.h"

namespace liveexec {

// The numbers are in images: never reuse one.
enum class FdKind : uint16_t {
  kUnknown = 0,
  kTcpListener = 1,
  kTcpStream = 2,
  kUdp = 3,
  kUnixListener = 4,
  kUnixStream = 5,
  kUnixDatagram = 6,
  kUnixSeqpacket = 7,
  kOtherSocket = 8,
  kPipe = 9,
  kFile = 10,
  kDirectory = 11,
  kMemfd = 12,
  kTerminal = 13,
  kDevice = 14,
  kEventfd = 15,
  kTimerfd = 16,
  kSignalfd = 17,
  kInotify = 18,
  kEpoll = 19,
  kPidfd = 20,
  kIoUring = 21,
  kUserfaultfd = 22,
};
std::string_view FdKindName(FdKind kind);  // "tcp stream", ...

// Identity of an open fd. A socket's cookie never repeats while the machine runs, so it alone
// identifies a socket; everything else is identified by device and inode.
struct FdIdentity {
  FdKind kind = FdKind::kUnknown;
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t socket_cookie = 0;
};

struct FdEntry {
  std::string component;
  std::string role;
  uint64_t number = 0;
  FdIdentity identity;
  bool lent = false;  // a rehearsal has it, for reading
};

// True for kinds that share one inode, so that device and inode do not tell them apart: eventfd,
// timerfd, epoll and the like.
bool SharesInode(FdKind kind);

// Finds out what fds are. Remembers them, so that one which was looked at before the blackout costs
// one system call in it. Not thread-safe.
class FdInspector {
 public:
  explicit FdInspector(Syscalls& syscalls) : syscalls_(syscalls) {}

  // Errors carry the errno (EBADF).
  absl::StatusOr<FdIdentity> Inspect(int fd);
  // The same for one call, if what `fd` is now is what Inspect last found under this number. That
  // is proved for all but kinds that share an inode: an eventfd that took the number of another one
  // is told apart by nothing anyway, and a timerfd that took it only by Inspect.
  absl::StatusOr<FdIdentity> InspectAgain(int fd);

  // OK when `fd` is what `expected` says; DataLoss otherwise. kInode leaves out what only a look at
  // the name of an fd that shares its inode can tell, at ten times the cost.
  enum class Depth { kInode, kAll };
  absl::Status Matches(int fd, const FdIdentity& expected, Depth depth = Depth::kAll);

 private:
  struct Known {
    bool inspected = false;
    FdIdentity identity;
    FdKind by_mode = FdKind::kUnknown;  // of all but sockets
  };

  Known* FindKnown(int fd);
  void Remember(int fd, const FdIdentity& identity, FdKind by_mode);
  FdIdentity InspectSocket(int fd, uint64_t cookie);
  FdKind KindOfAnonymous(int fd);

  Syscalls& syscalls_;
  // By number: no longer than the kernel's own table.
  std::vector<Known> known_;
};

// Kinds that exec destroys, or that cannot be passed: refused by name. Empty when `kind` can be
// carried.
std::string_view WhyNotCarriable(FdKind kind);

// The new program's side: hands each fd out once. Not thread-safe.
class EscrowFds : public FdSource {
 public:
  // `fds[i]` belongs to `entries[i]`; AlreadyExists when two entries have the same role.
  static absl::StatusOr<EscrowFds> Create(std::vector<FdEntry> entries, std::vector<UniqueFd> fds);

  absl::StatusOr<UniqueFd> Take(std::string_view component, std::string_view role,
                                uint64_t number) override;
  std::vector<uint64_t> Numbers(std::string_view component, std::string_view role) const override;

  // "component/role/number (kind)" of those that nobody took, at most `limit`.
  std::vector<std::string> NotTaken(size_t limit) const;
  size_t size() const { return entries_.size(); }

 private:
  struct Slot {
    uint64_t number;
    size_t index;
  };
  using Role = std::pair<std::string, std::string>;

  EscrowFds() = default;
  const std::vector<Slot>* FindRole(std::string_view component, std::string_view role) const;

  std::vector<FdEntry> entries_;
  std::vector<UniqueFd> fds_;                           // as entries_; empty once taken
  absl::flat_hash_map<Role, std::vector<Slot>> roles_;  // slots ascending by number
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_FD_TABLE_H_
