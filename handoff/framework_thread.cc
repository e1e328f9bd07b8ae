#include "handoff/framework_thread.h"

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <memory>
#include <new>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "core/error.h"

namespace liveexec {

absl::StatusOr<std::thread> StartFrameworkThread(absl::AnyInvocable<void() &&>& body) {
  using Body = absl::AnyInvocable<void() &&>;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const absl::Cleanup restore = [&] { pthread_sigmask(SIG_SETMASK, &before, nullptr); };
  // The thread's own copy of its function is lost when it does not start.
  std::shared_ptr<Body> moved;
  int error = 0;
  try {
    moved = std::make_shared<Body>(std::move(body));
    return std::thread([moved] {
      pthread_setname_np(pthread_self(), "liveexec");
      std::move (*moved)();
    });
  } catch (const std::system_error& thrown) {
    error = thrown.code().value();
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  }
  if (moved != nullptr) body = std::move(*moved);
  return ErrnoError(error, "start a thread");
}

}  // namespace liveexec
