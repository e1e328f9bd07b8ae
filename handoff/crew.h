// WithCrew: threads that an upgrade parks and that end with a scope.
//
// For event loops of any kind; liveexec::uv::WithLoopThreads is built on it. There is no guard
// object that exec or a careless owner could leak: the threads exist while `body` runs, and are
// joined before WithCrew returns.
#ifndef LIVEEXEC_HANDOFF_CREW_H_
#define LIVEEXEC_HANDOFF_CREW_H_

#include <functional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "handoff/executor.h"
#include "handoff/upgrader.h"

namespace liveexec {

struct CrewMember {
  Executor* executor = nullptr;  // borrowed; its tasks run on the member's thread
  std::function<void()> run;     // the thread's work: runs the loop until it is stopped
  std::function<void()> stop;    // posted to `executor` at the end: makes `run` return
};

// Starts a thread for each member, all signals blocked; registers the executors with `upgrader`;
// runs `body` on the calling thread; then takes each executor from the upgrader (which waits for an
// upgrade under way), stops and joins. ResourceExhausted: a thread cannot be started; `body` has
// not been called.
absl::Status WithCrew(Upgrader& upgrader, const std::vector<CrewMember>& members,
                      absl::FunctionRef<void()> body);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CREW_H_
