#include "handoff/budgets.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/available_memory.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

// Free fds that the crossing needs on either side: images, channel, the new program's loader.
constexpr size_t kSpareFds = 64;
// What a new program needs beyond its images.
constexpr uint64_t kSpareMemory = 32 << 20;
// What a blackout costs without any state, and how the snapshot's time relates to the rest: the
// images are written, and read again.
constexpr int64_t kFixedBlackoutNs = 3'000'000;
constexpr int64_t kSnapshotShare = 3;
constexpr int kRecentBlackouts = 5;

}  // namespace

absl::Status CheckFdBudget(Program& program, const Attempt& attempt) {
  struct rlimit limit;
  if (int result = program.syscalls.Getrlimit(RLIMIT_NOFILE, &limit); result < 0) {
    return WithCode(ErrnoError(-result, "read RLIMIT_NOFILE"), "E_FDS");
  }
  size_t needed = attempt.open_fds.size() + program.components.size() + kSpareFds;
  if (needed <= limit.rlim_cur) return absl::OkStatus();
  return CodedError(
      "E_FDS", absl::StatusCode::kResourceExhausted,
      absl::StrCat("the upgrade needs ", needed, " file descriptors and RLIMIT_NOFILE allows ",
                   limit.rlim_cur, ": raise the limit"));
}

absl::Status CheckMemoryBudget(uint64_t state_bytes) {
  std::optional<uint64_t> available = AvailableMemory();
  // The builder's copy is there already; the images and what the new program makes of them are not.
  uint64_t needed = 2 * state_bytes + kSpareMemory;
  if (!available || needed <= *available) return absl::OkStatus();
  return CodedError("E_NOMEM", absl::StatusCode::kResourceExhausted,
                    absl::StrCat("the upgrade needs about ", needed >> 20, " MiB and ",
                                 *available >> 20, " MiB are available: free some memory"));
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
                   absl::ToInt64Microseconds(attempt.request.max_blackout),
                   " us that are allowed: allow more, or upgrade when there is less state"));
}

}  // namespace liveexec
