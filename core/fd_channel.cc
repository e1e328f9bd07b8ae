#include "core/fd_channel.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace liveexec {
namespace {

// A control buffer for one full batch, aligned as the kernel wants it.
union ControlBuffer {
  char bytes[CMSG_SPACE(sizeof(int) * kFdsPerBatch)];
  struct cmsghdr align;
};

// Takes the fds out of a received message, so that they are closed whatever is found wrong with it.
std::vector<UniqueFd> TakeFds(const struct msghdr& message) {
  std::vector<UniqueFd> fds;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<struct msghdr*>(&message), header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

absl::Status NoSuchBatch(size_t index) {
  return absl::OutOfRangeError(absl::StrCat("the fd channel has no batch ", index));
}

}  // namespace

absl::StatusOr<FdChannelEnds> CreateFdChannel(Syscalls& syscalls) {
  int ends[2];
  int result = syscalls.Socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends);
  if (result < 0) return ErrnoError(-result, "socketpair for the fd channel");
  FdChannelEnds channel{UniqueFd(ends[0]), UniqueFd(ends[1])};
  const int size = 8 << 20;
  // FORCE needs CAP_NET_ADMIN; without it the kernel's default holds 278 messages, 70,056 fds.
  if (syscalls.Setsockopt(channel.sender.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) <
      0) {
    syscalls.Setsockopt(channel.sender.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  }
  return channel;
}

absl::Status SendFdBatch(Syscalls& syscalls, int sender, absl::Span<const int> fds) {
  if (fds.empty() || fds.size() > kFdsPerBatch) {
    return absl::InvalidArgumentError(absl::StrCat("a batch of ", fds.size(), " fds"));
  }
  ControlBuffer control;
  uint8_t count = static_cast<uint8_t>(fds.size());
  struct iovec data = {&count, 1};
  struct msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
  memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  int64_t sent = syscalls.Sendmsg(sender, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) return ErrnoError(static_cast<int>(-sent), "send a batch of fds");
  return absl::OkStatus();
}

absl::StatusOr<std::vector<UniqueFd>> PeekFdBatch(Syscalls& syscalls, int receiver, size_t index) {
  // A negative offset would switch SO_PEEK_OFF off, and peek at the first message.
  if (index > static_cast<size_t>(std::numeric_limits<int>::max())) return NoSuchBatch(index);
  int offset = static_cast<int>(index);
  int result = syscalls.Setsockopt(receiver, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset));
  if (result < 0) return ErrnoError(-result, "set SO_PEEK_OFF on the fd channel");
  ControlBuffer control;
  uint8_t count = 0;
  struct iovec data = {&count, 1};
  struct msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  int64_t received =
      syscalls.Recvmsg(receiver, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (received == -EAGAIN || received == 0) return NoSuchBatch(index);
  if (received < 0) return ErrnoError(static_cast<int>(-received), "peek at the fd channel");
  std::vector<UniqueFd> fds = TakeFds(message);
  bool truncated = (message.msg_flags & MSG_CTRUNC) != 0;
  if (truncated && count <= kFdsPerBatch && fds.size() < count) {
    return absl::ResourceExhaustedError(
        absl::StrCat("only ", fds.size(), " of the ", count, " fds of batch ", index,
                     " arrived: the fd table is full; raise RLIMIT_NOFILE"));
  }
  // One of ours has at least one fd, and all of its fds fit into the control buffer.
  if (truncated || count == 0 || fds.size() != count) {
    return absl::DataLossError(absl::StrCat("batch ", index, " announces ", count, " fds and has ",
                                            fds.size(), truncated ? " and more" : ""));
  }
  return fds;
}

}  // namespace liveexec
