#include "handoff/uv/fd_reserve.h"

#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace liveexec::uv {
namespace {

using std::chrono::steady_clock;

// Besides what is held: for the upgrade itself, as its check of RLIMIT_NOFILE has it, and for what
// the application opens meanwhile.
constexpr std::ptrdiff_t kSpare = 64;
// Connections that are accepted before the fds are counted again.
constexpr std::ptrdiff_t kAtOnce = 1024;
// Between two counts that found too few. Never more than a tenth of the time is spent counting.
constexpr auto kRest = std::chrono::milliseconds(50);
constexpr int kRestFactor = 10;

}  // namespace

FdReserve& FdReserve::OfThisProcess() {
  static FdReserve reserve;
  return reserve;
}

void FdReserve::Hold(std::ptrdiff_t change) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (held_.fetch_add(change) == 0) {
    // Nothing was counted until now.
    surplus_ = 0;
    next_count_ = {};
  } else {
    surplus_ -= change;
  }
}

void FdReserve::PutAside(std::ptrdiff_t change) { held_ += change; }

bool FdReserve::MayAccept() {
  if (held_.load() == 0) return true;
  if (lacking_.load() > 0) return false;
  return surplus_.load() > 0 || CountAgain();
}

bool FdReserve::CountAgain() {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto begin = steady_clock::now();
  if (begin < next_count_) return false;
  const std::ptrdiff_t held = std::max<std::ptrdiff_t>(held_.load(), 0) + kSpare;
  const auto free = static_cast<std::ptrdiff_t>(CountFree(static_cast<size_t>(held + kAtOnce)));
  surplus_ = free - held;
  if (free >= held + kAtOnce) return true;
  const auto end = steady_clock::now();
  next_count_ = end + std::max<steady_clock::duration>(kRest, kRestFactor * (end - begin));
  return surplus_.load() > 0;
}

size_t FdReserve::CountFree(size_t enough) {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  // From the top: new fds get the lowest numbers that are free.
  rlim_t top = std::min<rlim_t>(limit.rlim_cur, 1 << 30);
  size_t free = 0;
  pollfd fds[256];
  while (top > 0 && free < enough) {
    const rlim_t count = std::min<rlim_t>(top, std::size(fds));
    top -= count;
    for (rlim_t i = 0; i < count; ++i) fds[i] = {static_cast<int>(top + i), 0, 0};
    int result;
    do {
      result = ::poll(fds, static_cast<nfds_t>(count), 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return free;
    for (rlim_t i = 0; i < count; ++i) free += (fds[i].revents & POLLNVAL) != 0 ? 1 : 0;
  }
  return std::min(free, enough);
}

}  // namespace liveexec::uv
