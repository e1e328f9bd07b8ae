// ThreadExecutor: a thread with a queue of tasks, as small as an event loop can be; and, if it is
// to be able to, with one fd that it watches.
#ifndef LIVEEXEC_HANDOFF_TESTING_THREAD_EXECUTOR_H_
#define LIVEEXEC_HANDOFF_TESTING_THREAD_EXECUTOR_H_

#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "core/unique_fd.h"
#include "handoff/executor.h"

namespace liveexec {

class ThreadExecutor : public Executor {
 public:
  enum class Watching { kCannot, kCan };
  explicit ThreadExecutor(Watching watching = Watching::kCannot);
  // Runs what is queued, then joins.
  ~ThreadExecutor() override;

  void Post(absl::AnyInvocable<void() &&> task) override;
  bool Watch(int fd, std::function<void()> on_readable) override;
  void Unwatch() override { watched_ = -1; }
  // What operations_in_flight is set to; counts how often it was asked for.
  int OperationsInFlight() override;
  void BeforeStandstill() override;

  void set_operations_in_flight(int count) { operations_ = count; }
  int times_asked() const { return asked_; }
  // How often it was told that it will stand still.
  int standstills() const { return standstills_; }

  // Called on the thread, each time: at the end of OperationsInFlight and of BeforeStandstill. Set
  // them while nobody calls those.
  void set_on_asked(std::function<void()> call) { on_asked_ = std::move(call); }
  void set_on_standstill(std::function<void()> call) { on_standstill_ = std::move(call); }

  // Runs `task` on the thread and waits for it.
  void Run(absl::AnyInvocable<void() &&> task);
  // Waits until everything posted so far, and what that posted in its turn, has run.
  void Settle();

  std::thread::id id() const { return thread_.get_id(); }

 private:
  void Loop();
  // False when there is none.
  bool RunOne();

  const Watching watching_;
  UniqueFd wake_;     // eventfd
  int watched_ = -1;  // borrowed; the thread's
  std::function<void()> on_readable_, on_asked_, on_standstill_;
  std::atomic<int> operations_{0}, asked_{0}, standstills_{0};
  std::mutex mutex_;
  std::deque<absl::AnyInvocable<void() &&>> tasks_;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_TESTING_THREAD_EXECUTOR_H_
