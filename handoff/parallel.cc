#include "handoff/parallel.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <thread>
#include <vector>

namespace liveexec {

absl::Status RunInParallel(size_t count, absl::FunctionRef<absl::Status(size_t)> work) {
  std::vector<absl::Status> results(count);
  std::vector<std::thread> threads;
  threads.reserve(count);
  // A new thread has its maker's mask: it must not be the one that takes the application's signals.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    for (size_t i = 0; i + 1 < count; ++i) {
      threads.emplace_back([&results, work, i] { results[i] = work(i); });
    }
  } catch (const std::system_error&) {
    // No room for a thread: the rest is done here.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  for (size_t i = threads.size(); i < count; ++i) results[i] = work(i);
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) {
    if (!result.ok()) return result;
  }
  return absl::OkStatus();
}

}  // namespace liveexec
