#include "handoff/file_size_signal.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace liveexec {
namespace {

bool IsPending() {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGXFSZ) == 1;
}

bool IsBlocked() {
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  return sigismember(&blocked, SIGXFSZ) == 1;
}

// As a write beyond RLIMIT_FSIZE does.
void RaiseIt() { pthread_kill(pthread_self(), SIGXFSZ); }

TEST(FileSizeSignalHeld, KillsNobody) {
  {
    const FileSizeSignalHeld held;
    RaiseIt();
  }
  EXPECT_FALSE(IsBlocked());
}

TEST(FileSizeSignalHeld, LeavesNothingForLaterWhereSignalsAreBlockedAlready) {
  sigset_t signal, before;
  sigemptyset(&signal);
  sigaddset(&signal, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &signal, &before);
  {
    const FileSizeSignalHeld held;
    RaiseIt();
  }
  EXPECT_TRUE(IsBlocked());
  EXPECT_FALSE(IsPending());
  // But one that was there before is not its own.
  RaiseIt();
  { const FileSizeSignalHeld held; }
  EXPECT_TRUE(IsPending());
  const struct timespec now = {};
  sigtimedwait(&signal, nullptr, &now);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
}  // namespace liveexec
