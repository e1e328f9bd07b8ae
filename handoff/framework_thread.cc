#include "handoff/framework_thread.h"

#include <pthread.h>
#include <signal.h>

#include <memory>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace liveexec {

absl::StatusOr<std::thread> StartFrameworkThread(absl::AnyInvocable<void() &&>& body) {
  using Body = absl::AnyInvocable<void() &&>;
  // The thread's own copy of its function is lost when it does not start.
  auto moved = std::make_shared<Body>(std::move(body));
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  absl::StatusOr<std::thread> thread;
  try {
    thread = std::thread([moved] {
      pthread_setname_np(pthread_self(), "liveexec");
      std::move (*moved)();
    });
  } catch (const std::system_error& error) {
    thread = ErrnoError(error.code().value(), "start a thread");
    body = std::move(*moved);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace liveexec
