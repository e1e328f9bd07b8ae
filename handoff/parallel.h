// RunInParallel: a piece of work on several threads at once, for the blackout, in which all threads
// of the application stand still.
#ifndef LIVEEXEC_HANDOFF_PARALLEL_H_
#define LIVEEXEC_HANDOFF_PARALLEL_H_

#include <cstddef>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace liveexec {

// Calls work(0) to work(count - 1), the last on the calling thread and each other one on a thread
// of its own (all signals blocked), which has ended when this returns. Those for which there is no
// thread are called on the calling one as well. Returns the first error, in the order of the
// numbers. `work` may not throw.
absl::Status RunInParallel(size_t count, absl::FunctionRef<absl::Status(size_t)> work);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_PARALLEL_H_
