// EventLoop: thousands of clients on one thread.
//
// A plain epoll loop of the harness's own, so that the clients share no code, and no mistakes, with
// the servers that they test. All methods belong to the thread that runs the loop (or, before it
// runs, to its owner), except Post and Stop.
#ifndef LIVEEXEC_TESTS_HARNESS_EVENT_LOOP_H_
#define LIVEEXEC_TESTS_HARNESS_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"
#include "core/unique_fd.h"

namespace liveexec::harness {

class EventLoop {
 public:
  using Task = std::function<void()>;
  using OnEvents = std::function<void(uint32_t events)>;  // EPOLLIN, ...
  using WatchId = uint64_t;                               // never 0, never used again

  EventLoop();

  // Calls `on_events` whenever `fd` (borrowed until Unwatch) has one of `events`.
  WatchId Watch(int fd, uint32_t events, OnEvents on_events);
  void Rewatch(WatchId id, uint32_t events);
  void Unwatch(WatchId id);

  // Runs `task` once, not earlier than `delay` from now.
  void After(absl::Duration delay, Task task);
  // Runs `task` in the next turn, after the events of this one.
  void NextTurn(Task task) { next_turn_.push_back(std::move(task)); }
  // As NextTurn, from any thread.
  void Post(Task task);

  // Turns until Stop. A loop that was stopped may run again.
  void Run();
  void Stop() {
    Post([this] { stopped_ = true; });
  }
  // Turns until `done` holds (true) or `timeout` has passed (false). `done` is asked once a turn.
  bool RunUntil(const std::function<bool()>& done, absl::Duration timeout);

 private:
  struct Watched {
    int fd;
    OnEvents on_events;
  };

  void Turn(int64_t until_ns);
  int WaitMs(int64_t until_ns) const;
  void RunTasks();

  UniqueFd epoll_;
  UniqueFd wakeup_;
  WatchId next_id_ = 1;
  std::unordered_map<WatchId, Watched> watched_;
  std::multimap<int64_t, Task> timers_;
  std::vector<Task> next_turn_;
  bool stopped_ = false;
  std::mutex mutex_;
  std::vector<Task> posted_;  // guarded by mutex_
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_EVENT_LOOP_H_
