// The conductor: the framework's own event loop, over the control socket, the upgrade signal and
// tasks that are posted to it.
//
// It has two places to run. While nothing is being upgraded it is a guest of the main executor,
// which watches one fd for it (Executor::Watch): the process has no further thread, and libc none
// of the precautions that a second one makes it take in every read and write. When an upgrade
// begins, which needs the main thread parked, it moves to a thread of its own, and back afterwards.
// An executor that cannot watch an fd leaves it on its thread for good.
//
//             Start                    set_needs_thread(true)
//   nowhere ─────────▶ guest of the ──────────────────────────▶ on its own thread
//                     main executor ◀──────────────────────────
//                                      set_needs_thread(false)
//
// Everything that is said to happen "in the conductor" happens in the one place or the other, never
// in both at once; on its own thread it is parked for a blackout like any other thread.
#ifndef LIVEEXEC_HANDOFF_CONDUCTOR_H_
#define LIVEEXEC_HANDOFF_CONDUCTOR_H_

#include <poll.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "handoff/control_server.h"
#include "handoff/executor.h"
#include "handoff/parking.h"

namespace liveexec {

class Conductor : public Executor {
 public:
  struct Options {
    ControlServer* control = nullptr;  // borrowed
    int upgrade_signal = 0;            // 0: none; blocked in every thread
    std::function<void()> on_signal;   // in the conductor
    Executor* host = nullptr;          // borrowed: the main executor; null: always on its thread
    Parking* parking = nullptr;        // borrowed: knows of its thread while there is one
  };

  // Errors carry the errno.
  static absl::StatusOr<std::unique_ptr<Conductor>> Create(Options options);
  ~Conductor() override { Stop(); }

  // Start, Stop and the destructor belong to the host's thread, if there is one. An error carries
  // the errno: neither can the host watch, nor is there a thread.
  absl::Status Start();
  // Tasks that were not run, or come later, are dropped.
  void Stop();

  // Those that it has made for itself, for as long as it lives.
  std::vector<int> OwnFds() const;

  void Post(absl::AnyInvocable<void() &&> task) override;

  // In the conductor. While true, it runs on its own thread, from the end of this turn on; while
  // false, as the host's guest, as soon as that has a turn. Where the system has no thread, or no
  // fd for the host to watch, it stays where it is.
  void set_needs_thread(bool needed) { needs_thread_ = needed; }
  // In the conductor: has the next turn on its own thread, and stays there no longer for it. False:
  // when it last wanted one, there was none.
  bool TakeNextTurnOnThread() {
    next_turn_on_thread_ = true;
    return !no_thread_;
  }
  // In the conductor: whether this is its own thread, which may wait for the main one.
  bool on_own_thread() const { return on_own_thread_; }

  // In the conductor. While false, the upgrade signal stays pending: one that arrives during an
  // upgrade asks for another one after it, in whichever program serves then.
  void set_take_signal(bool take) { take_signal_ = take; }

  // In the conductor. While true, it looks for tasks often, also without being woken: for as long
  // as an upgrade depends on one that comes, a wake-up that fails must not be the end of it.
  void set_watchful(bool watchful) { watchful_ = watchful; }

  // In the conductor: calls `task` there, `delay` from now. Returns a number for CancelTimer, never
  // 0.
  uint64_t SetTimer(absl::Duration delay, absl::AnyInvocable<void() &&> task);
  void CancelTimer(uint64_t timer);

 private:
  explicit Conductor(Options options) : options_(std::move(options)) {}

  // On the host's thread.
  bool BecomeGuest();
  void LeaveHost();
  void OnWatched();
  void WatchAll();
  void UnwatchAll();
  absl::Status StartThread();
  void JoinThread();
  void ComeHome();

  void Run();  // the thread
  // Tells the host to have it back; false when there is no memory for that.
  bool AskToComeHome();
  // One turn of the event loop, in either place. Throws nothing: what there is no memory for is
  // tried again in the next.
  void Turn(int timeout_ms);
  void TurnWithMemory(int timeout_ms);
  void UpdatePolled();
  void RunTasks();
  void TakeSignal();
  void RunTimers();
  int PollTimeoutMs() const;

  const Options options_;
  UniqueFd wake_;    // eventfd
  UniqueFd signal_;  // signalfd
  bool take_signal_ = true;
  bool signalled_ = false;  // taken, and not yet acted upon
  bool watchful_ = false;
  bool needs_thread_ = false;
  bool next_turn_on_thread_ = false;
  bool no_thread_ = false;  // it could not be started
  bool on_own_thread_ = false;
  struct Timer {
    uint64_t number;
    int64_t due_ns;  // CLOCK_MONOTONIC
    absl::AnyInvocable<void() &&> task;
  };
  std::vector<Timer> timers_;  // a handful at most
  uint64_t next_timer_ = 1;

  // For when it is a guest: an epoll fd over all that Turn would poll for, and a timer. It only
  // wakes the host, which watches it; what has happened is found by Turn.
  UniqueFd guest_;
  UniqueFd guest_timer_;
  std::vector<int> watched_;
  std::vector<pollfd> polled_;
  bool may_be_guest_ = false;
  bool is_guest_ = false;
  std::shared_ptr<bool> exists_ = std::make_shared<bool>(true);  // for a task on the host

  std::mutex mutex_;
  std::vector<absl::AnyInvocable<void() &&>> tasks_;
  std::vector<absl::AnyInvocable<void() &&>> running_;  // in the conductor
  bool stop_ = false;

  std::thread thread_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONDUCTOR_H_
