// Parking: stopping the threads of a running program between callbacks, undoably.
//
// Threads are known by their Executor. Parking posts a task to each; the task blocks all signals in
// its thread and waits until the threads are released. Nothing is killed, no lock is held: a parked
// thread stands in a callback of its own loop.
#ifndef LIVEEXEC_HANDOFF_PARKING_H_
#define LIVEEXEC_HANDOFF_PARKING_H_

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "handoff/executor.h"

namespace liveexec {

// Shared by whoever waits for an upgrade's blackout and whoever runs it: exactly one of them gets
// to begin, or to give up.
class BlackoutTicket {
 public:
  // The blackout begins. False: it was cancelled.
  bool Claim() { return Move(kWaiting, kClaimed); }
  // It has ended without success, and may be tried again. False: that was the last time, and it is
  // cancelled now.
  bool Unclaim();
  // True when the blackout has not begun, and now never will.
  bool Cancel() { return Move(kWaiting, kCancelled); }
  // The same; and when it has begun, it is not tried again.
  bool CancelWhatFollows();
  bool cancelled() const { return state_.load() == kCancelled; }

 private:
  enum State { kWaiting, kClaimed, kClaimedForTheLastTime, kCancelled };
  bool Move(State from, State to) { return state_.compare_exchange_strong(from, to); }

  std::atomic<State> state_{kWaiting};
};

class Parking {
 public:
  // Borrowed until Remove. Any thread; Remove waits until the thread is not parked.
  void Add(Executor& executor);
  void Remove(Executor& executor);
  size_t size();

  // Runs `then` on `main`, once no executor (`main` included) has operations in flight, or never
  // when `ticket` is cancelled before. The loops go on running meanwhile.
  void WhenDrained(Executor& main, std::shared_ptr<BlackoutTicket> ticket,
                   std::function<void()> then);

  // For an exec, which loses operations in flight, or just for a look at the threads' state.
  enum class For { kExec, kSnapshot };

  // Parks every executor added; call it on the main thread, which is not among them. Unavailable:
  // one has operations in flight (kExec only). DeadlineExceeded: one does not come to a stop in
  // time. After an error nothing is parked. `except` is one that stands still by itself.
  absl::Status Park(For purpose, absl::Duration deadline, Executor* except = nullptr);
  // While all are parked: runs what they, and `main`, have posted to one another, until nobody has
  // anything; it would be lost by exec. Unavailable: that began operations which must be waited
  // for, or has no end. Main thread.
  absl::Status RunPosted(Executor& main);
  // Lets them go on. A no-op when nothing is parked.
  void Release();

 private:
  struct Gathering;

  std::vector<Executor*> Executors();

  std::mutex mutex_;
  std::condition_variable not_in_use_;
  std::vector<Executor*> executors_;
  std::shared_ptr<Gathering> gathering_;  // while parked, or parking
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_PARKING_H_
