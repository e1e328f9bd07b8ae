#include "handoff/budgets.h"

#include <sys/socket.h>

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/fd_channel.h"
#include "handoff/available_memory.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

// Free fds that the crossing needs on either side: images, channel, the new program's loader.
constexpr size_t kSpareFds = 64;
// What a new program needs beyond its images.
constexpr uint64_t kSpareMemory = 32 << 20;
// What a message of one byte counts for in a socket's send buffer, with its sk_buff; a buffer takes
// messages until it is full, the last one whole. As measured on Linux 5.10 to 6.18: 278 messages in
// the default of 212,992 bytes.
constexpr size_t kMessageBytes = 768;
// What a blackout costs without any state, and how the snapshot's time relates to the rest: the
// images are written, and read again.
constexpr int64_t kFixedBlackoutNs = 3'000'000;
constexpr int64_t kSnapshotShare = 3;
constexpr int kRecentBlackouts = 5;

}  // namespace

absl::Status CheckFdBudget(Program& program, Attempt& attempt) {
  struct rlimit limit;
  if (int result = program.syscalls.Getrlimit(RLIMIT_NOFILE, &limit); result < 0) {
    return WithCode(ErrnoError(-result, "read RLIMIT_NOFILE"), "E_FDS");
  }
  const size_t needed = attempt.open_fds.size() + program.components.size() + kSpareFds;
  attempt.needs.fds = needed;
  attempt.needs.fds_allowed = limit.rlim_cur;
  if (needed <= limit.rlim_cur) return absl::OkStatus();
  return CodedError(
      "E_FDS", absl::StatusCode::kResourceExhausted,
      absl::StrCat("the upgrade needs ", needed, " file descriptors and RLIMIT_NOFILE allows ",
                   limit.rlim_cur, ": raise the limit"));
}

absl::Status CheckMemoryBudget(Attempt& attempt, uint64_t state_bytes) {
  std::optional<uint64_t> available = AvailableMemory();
  // The builder's copy is there already; the images and what the new program makes of them are not.
  const uint64_t needed = 2 * state_bytes + kSpareMemory;
  attempt.needs.memory = needed;
  attempt.needs.memory_available = available.value_or(0);
  if (!available || needed <= *available) return absl::OkStatus();
  return CodedError(
      "E_NOMEM", absl::StatusCode::kResourceExhausted,
      absl::StrCat("the upgrade needs about ", needed >> 20, " MiB and ", *available >> 20,
                   " MiB are available: free some memory, or raise the limit"));
}

absl::Status CheckChannelBudget(Program& program, Attempt& attempt) {
  int buffer = 0;
  socklen_t size = sizeof(buffer);
  if (int result = program.syscalls.Getsockopt(attempt.channel.sender.get(), SOL_SOCKET, SO_SNDBUF,
                                               &buffer, &size);
      result < 0) {
    return WithCode(ErrnoError(-result, "read the fd channel's SO_SNDBUF"), "E_FDPUSH");
  }
  // One with the manifest; the images and, at the most, all open fds in the others.
  const size_t carried = attempt.open_fds.size() + program.components.size();
  const size_t needed = 1 + (carried + kFdsPerBatch - 1) / kFdsPerBatch;
  const size_t allowed = (static_cast<size_t>(buffer) + kMessageBytes - 1) / kMessageBytes;
  attempt.needs.messages = needed;
  attempt.needs.messages_allowed = allowed;
  if (needed <= allowed) return absl::OkStatus();
  return CodedError(
      "E_FDPUSH", absl::StatusCode::kResourceExhausted,
      absl::StrCat("the upgrade needs ", needed,
                   " messages of the fd channel and its buffer holds ", allowed,
                   ": raise net.core.wmem_max, or let the server have CAP_NET_ADMIN"));
}

std::string DescribeNeeds(const Needs& needs) {
  std::string text = absl::StrCat("needs ", needs.fds, " of ", needs.fds_allowed, " fds, ");
  if (needs.memory != 0 && needs.memory_available != 0) {
    absl::StrAppend(&text, "about ", needs.memory >> 20, " of ", needs.memory_available >> 20,
                    " MiB of memory, ");
  }
  absl::StrAppend(&text, needs.messages, " of ", needs.messages_allowed,
                  " messages of the fd channel");
  return text;
}

int64_t ShortestRecentBlackoutNs(const Journal& journal) {
  int64_t shortest_ns = std::numeric_limits<int64_t>::max();
  int seen = 0;
  for (auto entry = journal.entries().rbegin();
       entry != journal.entries().rend() && seen < kRecentBlackouts; ++entry) {
    if (entry->outcome != Outcome::kCommitted) continue;
    ++seen;
    shortest_ns = std::min(shortest_ns, entry->blackout_ns);
  }
  return seen == 0 ? 0 : shortest_ns;
}

absl::Status CheckBlackoutBudget(Program& program, const Attempt& attempt, int64_t snapshot_ns) {
  int64_t predicted_ns = snapshot_ns * kSnapshotShare + kFixedBlackoutNs;
  {
    std::lock_guard lock(program.mutex);
    predicted_ns = std::max(predicted_ns, ShortestRecentBlackoutNs(program.journal));
  }
  if (absl::Nanoseconds(predicted_ns) <= attempt.request.max_blackout) return absl::OkStatus();
  return CodedError(
      "E_BLACKOUT", absl::StatusCode::kFailedPrecondition,
      absl::StrCat("the blackout would take about ", predicted_ns / 1000, " us, more than the ",
                   absl::FormatDuration(attempt.request.max_blackout),
                   " that are allowed: allow more, or upgrade when there is less state"));
}

}  // namespace liveexec
