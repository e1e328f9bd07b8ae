// FileSizeSignalHeld: a write beyond RLIMIT_FSIZE is EFBIG, and a SIGXFSZ whose default is to kill
// the process. While this exists the signal is held back in the calling thread, and at the end
// forgotten.
#ifndef LIVEEXEC_HANDOFF_FILE_SIZE_SIGNAL_H_
#define LIVEEXEC_HANDOFF_FILE_SIZE_SIGNAL_H_

#include <signal.h>
#include <time.h>

namespace liveexec {

class FileSizeSignalHeld {
 public:
  FileSizeSignalHeld() {
    sigemptyset(&signal_);
    sigaddset(&signal_, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signal_, &before_);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGXFSZ) == 1;
  }
  ~FileSizeSignalHeld() {
    const struct timespec now = {};
    // Also where all signals are blocked already: it would be delivered when they are not any more.
    if (!was_pending_) sigtimedwait(&signal_, nullptr, &now);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  FileSizeSignalHeld(const FileSizeSignalHeld&) = delete;
  FileSizeSignalHeld& operator=(const FileSizeSignalHeld&) = delete;

 private:
  sigset_t signal_, before_;
  bool was_pending_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_FILE_SIZE_SIGNAL_H_
