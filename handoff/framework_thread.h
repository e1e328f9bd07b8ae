// The framework's own threads: named "liveexec", all signals blocked, so that no handler of the
// application runs on them and signals for the process reach the application's threads.
#ifndef LIVEEXEC_HANDOFF_FRAMEWORK_THREAD_H_
#define LIVEEXEC_HANDOFF_FRAMEWORK_THREAD_H_

#include <thread>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

namespace liveexec {

// Any thread; its own signal mask is as before when this returns. An error carries the errno
// (EAGAIN: the system allows no more threads); `body` is as it was then, and otherwise moved from.
absl::StatusOr<std::thread> StartFrameworkThread(absl::AnyInvocable<void() &&>& body);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_FRAMEWORK_THREAD_H_
