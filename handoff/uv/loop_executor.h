// LoopExecutor: the door to one libuv loop and the thread that runs it.
//
//   uv_loop_t loop;
//   uv_loop_init(&loop);
//   {
//     liveexec::uv::LoopExecutor executor(&loop);
//     executor.Post([] { ... });            // from any thread
//     uv_run(&loop, UV_RUN_DEFAULT);        // until uv_stop(): the executor keeps it alive
//   }
//   liveexec::uv::CloseLoop(&loop);
//
// The loop is borrowed and must outlive the executor. Constructed and destroyed on the loop's
// thread, or while no thread runs the loop. The destructor closes the executor's handles; like
// every closed handle they need the loop to run once more, which CloseLoop() does. Tasks that have
// not run by then are dropped.
#ifndef LIVEEXEC_HANDOFF_UV_LOOP_EXECUTOR_H_
#define LIVEEXEC_HANDOFF_UV_LOOP_EXECUTOR_H_

#include <uv.h>

#include <cstddef>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "handoff/executor.h"

namespace liveexec::uv {

class LoopExecutor final : public Executor {
 public:
  explicit LoopExecutor(uv_loop_t* loop);
  ~LoopExecutor() override;
  LoopExecutor(const LoopExecutor&) = delete;
  LoopExecutor& operator=(const LoopExecutor&) = delete;

  // Not ok when the process had no fd left for the loop's wake-up; Post() then never runs anything.
  const absl::Status& status() const { return status_; }

  // Runs `task` in the loop's poll phase. Tasks posted by a running task run in the next iteration,
  // so a task that posts itself again does not keep the loop from its other events.
  void Post(absl::AnyInvocable<void() &&> task) override;

  bool RunPosted() override;

  // Calls what AtStandstill() was given.
  void BeforeStandstill() override;

  // For components that put work off until the loop next waits: `task` does it, and is called
  // before the loop stands still instead. One for each `owner`; empty: none any more. It calls no
  // code of the application. Loop's thread, or while that is parked or not running.
  void AtStandstill(const void* owner, std::function<void()> task);

  bool Watch(int fd, std::function<void()> on_readable) override;
  void Unwatch() override;

  // Requests that libuv holds and exec would lose: thread-pool work (uv_queue_work, uv_fs_*,
  // uv_getaddrinfo), and writes, connects and shutdowns on raw libuv handles; less what
  // SetCarriedOperations() accounts for. The streams of this folder make no libuv requests.
  int OperationsInFlight() override;

  // For applications with raw libuv handles: `carried` says how many of the loop's active requests
  // need not be waited for, because the application exports what they hold (UnsentBytes() in
  // raw_handles.h). Called on the loop's thread. Set it before the loop runs.
  void SetCarriedOperations(std::function<int()> carried) { carried_ = std::move(carried); }

  // Whether uv_run() goes on while only this executor is left (the default), or returns. Loop's
  // thread.
  void KeepLoopAlive(bool keep);

  uv_loop_t* loop() const { return loop_; }

 private:
  // The handles, which outlive this object until the loop has closed them.
  struct Wakeup;
  struct Watched;

  static void OnWakeup(uv_async_t* handle) noexcept;
  void TakePosted();
  void RunBatch();

  uv_loop_t* const loop_;
  Wakeup* wakeup_ = nullptr;
  Watched* watched_ = nullptr;
  absl::Status status_;
  std::function<int()> carried_;
  std::vector<std::pair<const void*, std::function<void()>>> at_standstill_;

  std::mutex mutex_;
  std::vector<absl::AnyInvocable<void() &&>> posted_;  // guarded by mutex_

  // Loop's thread. A member, not a local, because a task that stops the loop for good must be able
  // to run those behind it first (RunPosted).
  std::vector<absl::AnyInvocable<void() &&>> batch_;
  size_t next_ = 0;
};

// Runs `loop` until all handles that are being closed are closed, then closes it.
// FailedPrecondition when other handles are still open: they are listed by type.
absl::Status CloseLoop(uv_loop_t* loop);

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_LOOP_EXECUTOR_H_
