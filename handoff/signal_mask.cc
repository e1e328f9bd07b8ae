#include "handoff/signal_mask.h"

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace liveexec {
namespace {

constexpr int kLastSignal = 64;

// Bit n - 1 is signal n. For the process, not for an object: so is what it describes.
std::atomic<uint64_t> g_kept_blocked{0};

}  // namespace

void KeepSignalBlocked(int signo) {
  if (signo < 1 || signo > kLastSignal) return;
  g_kept_blocked.fetch_or(uint64_t{1} << (signo - 1));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signo);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

sigset_t SignalsKeptBlocked() {
  const uint64_t kept = g_kept_blocked.load();
  sigset_t set;
  sigemptyset(&set);
  for (int signo = 1; signo <= kLastSignal; ++signo) {
    if ((kept >> (signo - 1)) & 1) sigaddset(&set, signo);
  }
  return set;
}

}  // namespace liveexec
