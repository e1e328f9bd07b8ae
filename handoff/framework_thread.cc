#include "handoff/framework_thread.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace liveexec {

std::thread StartFrameworkThread(absl::AnyInvocable<void() &&> body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread([body = std::move(body)]() mutable {
    pthread_setname_np(pthread_self(), "liveexec");
    std::move(body)();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace liveexec
