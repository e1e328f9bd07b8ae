// The escrow: a UNIX stream socketpair whose queue holds file descriptors.
//
// Each message is one data byte, the number of its fds (1 to 252), with the fds as SCM_RIGHTS. One
// byte per message makes SO_PEEK_OFF the index of a message, so any batch can be looked at without
// reading those before it, and as often as one likes: peeking hands out duplicates and leaves the
// queue full. That is what a rollback lives on. Draining, at commit, is closing the last receiving
// end.
//
// Ownership: what is sent is duplicated by the kernel; the sender keeps its own. What is received
// belongs to the receiver, CLOEXEC. One thread at a time per end.
#ifndef LIVEEXEC_CORE_FD_CHANNEL_H_
#define LIVEEXEC_CORE_FD_CHANNEL_H_

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"

namespace liveexec {

// SCM_RIGHTS allows 253 on Linux; musl's control buffers hold 252.
inline constexpr size_t kFdsPerBatch = 252;

struct FdChannelEnds {
  UniqueFd sender;
  UniqueFd receiver;
};

// Both ends CLOEXEC and non-blocking, with as large a send buffer as the kernel grants (8 MiB are
// asked for: 10,923 messages).
absl::StatusOr<FdChannelEnds> CreateFdChannel(Syscalls& syscalls);

// Queues `fds` (1 to 252 of them, borrowed) as one message. Never blocks. Errors carry the errno:
// EAGAIN, the queue is full; ETOOMANYREFS, the user has more fds in flight than RLIMIT_NOFILE
// allows; EINVAL, an fd of a kind that cannot be passed (io_uring).
absl::Status SendFdBatch(Syscalls& syscalls, int sender, absl::Span<const int> fds);

// Duplicates of the fds in message `index` (0 is the oldest). The queue is left as it is.
// OutOfRange: there is no such message. ResourceExhausted: the fd table is full (the kernel dropped
// some; none is returned). DataLoss: the message is not one of ours.
absl::StatusOr<std::vector<UniqueFd>> PeekFdBatch(Syscalls& syscalls, int receiver, size_t index);

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_FD_CHANNEL_H_
