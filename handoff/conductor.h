// The conductor: the framework's own thread. An event loop over the control socket, the upgrade
// signal and tasks that are posted to it; so it is parked for a blackout like any other thread.
#ifndef LIVEEXEC_HANDOFF_CONDUCTOR_H_
#define LIVEEXEC_HANDOFF_CONDUCTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "handoff/control_server.h"
#include "handoff/executor.h"

namespace liveexec {

class Conductor : public Executor {
 public:
  // `control` is borrowed and may be null. `on_signal` is called on the conductor's thread for
  // `upgrade_signal` (0: none), which must be blocked in every thread. Errors carry the errno.
  static absl::StatusOr<std::unique_ptr<Conductor>> Create(ControlServer* control,
                                                           int upgrade_signal,
                                                           std::function<void()> on_signal);
  ~Conductor() override { Stop(); }

  // Starts the thread, all signals blocked.
  void Start();
  // Stops and joins it. Tasks that were not run, or come later, are dropped.
  void Stop();

  void Post(absl::AnyInvocable<void() &&> task) override;

  // Conductor thread only. While false, the upgrade signal stays pending: one that arrives during
  // an upgrade asks for another one after it, in whichever program serves then.
  void set_take_signal(bool take) { take_signal_ = take; }

  // Conductor thread only. While true, it looks for tasks often, also without being woken: for as
  // long as an upgrade depends on one that comes, a wake-up that fails must not be the end of it.
  void set_watchful(bool watchful) { watchful_ = watchful; }

  // Conductor thread only: calls `task` on it, `delay` from now. Returns a number for CancelTimer,
  // never 0.
  uint64_t SetTimer(absl::Duration delay, absl::AnyInvocable<void() &&> task);
  void CancelTimer(uint64_t timer);

 private:
  Conductor(ControlServer* control, std::function<void()> on_signal)
      : control_(control), on_signal_(std::move(on_signal)) {}

  void Run();
  void RunTasks();
  void TakeSignal();
  void RunTimers();
  int PollTimeoutMs() const;

  ControlServer* control_;
  std::function<void()> on_signal_;
  UniqueFd wake_;    // eventfd
  UniqueFd signal_;  // signalfd
  bool take_signal_ = true;
  bool watchful_ = false;
  struct Timer {
    uint64_t number;
    int64_t due_ns;  // CLOCK_MONOTONIC
    absl::AnyInvocable<void() &&> task;
  };
  std::vector<Timer> timers_;  // a handful at most
  uint64_t next_timer_ = 1;

  std::mutex mutex_;
  std::vector<absl::AnyInvocable<void() &&>> tasks_;
  bool stop_ = false;

  std::thread thread_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONDUCTOR_H_
