// The framework's own threads: named "liveexec", all signals blocked, so that no handler of the
// application runs on them and signals for the process reach the application's threads.
#ifndef LIVEEXEC_HANDOFF_FRAMEWORK_THREAD_H_
#define LIVEEXEC_HANDOFF_FRAMEWORK_THREAD_H_

#include <thread>

#include "absl/functional/any_invocable.h"

namespace liveexec {

// Any thread; its own signal mask is as before when this returns.
std::thread StartFrameworkThread(absl::AnyInvocable<void() &&> body);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_FRAMEWORK_THREAD_H_
