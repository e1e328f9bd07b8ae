// Executor: what the framework needs to know of an event loop.
//
// The upgrade has work to do on the application's own threads, between callbacks: stop them, export
// their state, exec. An Executor is the one door to such a thread. liveexec::uv::LoopExecutor is
// the one for libuv; examples/ shows one for plain epoll.
#ifndef LIVEEXEC_HANDOFF_EXECUTOR_H_
#define LIVEEXEC_HANDOFF_EXECUTOR_H_

#include <functional>

#include "absl/functional/any_invocable.h"

namespace liveexec {

class Executor {
 public:
  virtual ~Executor() = default;

  // Runs `task` on the loop's thread, between two callbacks, soon. Tasks run in the order in which
  // they were posted. Any thread may call it, the loop's own included; it never runs `task` before
  // it returns.
  virtual void Post(absl::AnyInvocable<void() &&> task) = 0;

  // Called on the loop's thread while an upgrade wants to stop it: how many operations are in
  // flight that would be lost by exec (thread-pool work, resolver calls). The loop goes on running
  // until this is 0, or the quiesce deadline passes and the upgrade is abandoned.
  virtual int OperationsInFlight() { return 0; }

  // Runs at once what has been posted until now, also behind the task that is running; returns
  // whether there was any. For an upgrade, once all threads have stopped, each in a task of its
  // executor: what one thread posted to another that had stopped before it would be lost by exec.
  // It goes round the executors until none has anything, and quiesces the components then. Called
  // from within a task on the executor's thread, or on the main thread while that one stands still.
  virtual bool RunPosted() { return false; }

  // Called on the loop's thread, in a task of its executor, when it is about to stand still for an
  // upgrade: for a blackout, or while its state is looked at. What the loop has put off until the
  // end of its iteration, and need not wait that long, is done now: output is sent.
  virtual void BeforeStandstill() {}

  // Optional; for the main executor. Calls `on_readable` on the loop's thread, between two
  // callbacks, whenever `fd` (borrowed, one that epoll takes) is readable, until Unwatch(); it may
  // call Unwatch() itself, and does not keep the loop running. One fd at a time. The framework then
  // needs no thread of its own while nothing is being upgraded. False: this loop cannot. Loop's
  // thread, or before the loop runs.
  virtual bool Watch(int fd, std::function<void()> on_readable) {
    (void)fd;
    (void)on_readable;
    return false;
  }
  virtual void Unwatch() {}
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_EXECUTOR_H_
