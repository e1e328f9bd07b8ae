#include "tests/harness/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "tests/harness/clock.h"

namespace liveexec::harness {

namespace {

constexpr int64_t kForever = std::numeric_limits<int64_t>::max();

// Failures here are the harness's own (no fds left): no test can go on.
void Require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::abort();
}

}  // namespace

EventLoop::EventLoop()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), wakeup_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  Require(epoll_.get() >= 0 && wakeup_.get() >= 0, "event loop");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  Require(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wakeup_.get(), &event) == 0, "epoll_ctl");
}

EventLoop::WatchId EventLoop::Watch(int fd, uint32_t events, OnEvents on_events) {
  const WatchId id = next_id_++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  Require(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl(ADD)");
  watched_[id] = {fd, std::move(on_events)};
  return id;
}

void EventLoop::Rewatch(WatchId id, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  Require(epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, watched_.at(id).fd, &event) == 0,
          "epoll_ctl(MOD)");
}

void EventLoop::Unwatch(WatchId id) {
  const auto found = watched_.find(id);
  if (found == watched_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.fd, nullptr);
  watched_.erase(found);
}

void EventLoop::After(absl::Duration delay, Task task) {
  timers_.emplace(NowNs() + absl::ToInt64Nanoseconds(delay), std::move(task));
}

void EventLoop::Post(Task task) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    posted_.push_back(std::move(task));
  }
  const uint64_t one = 1;
  // EAGAIN means that the counter is full, so that the loop wakes anyway.
  if (write(wakeup_.get(), &one, sizeof one) < 0) return;
}

int EventLoop::WaitMs(int64_t until_ns) const {
  if (!next_turn_.empty()) return 0;
  int64_t wake = until_ns;
  if (!timers_.empty()) wake = std::min(wake, timers_.begin()->first);
  if (wake == kForever) return -1;
  const int64_t left = wake - NowNs();
  return left <= 0 ? 0 : static_cast<int>(std::min<int64_t>(left / 1'000'000 + 1, 60'000));
}

void EventLoop::RunTasks() {
  std::vector<Task> tasks;
  tasks.swap(next_turn_);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::move(posted_.begin(), posted_.end(), std::back_inserter(tasks));
    posted_.clear();
  }
  const int64_t now = NowNs();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    tasks.push_back(std::move(timers_.begin()->second));
    timers_.erase(timers_.begin());
  }
  for (const Task& task : tasks) task();
}

void EventLoop::Turn(int64_t until_ns) {
  std::array<epoll_event, 256> events;
  const int count =
      epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), WaitMs(until_ns));
  for (int i = 0; i < count; ++i) {
    if (events[i].data.u64 == 0) {
      uint64_t posts = 0;
      if (read(wakeup_.get(), &posts, sizeof posts) < 0) continue;
      continue;
    }
    // A callback of this turn may have ended the watch.
    const auto found = watched_.find(events[i].data.u64);
    if (found == watched_.end()) continue;
    const OnEvents on_events = found->second.on_events;  // a copy: it may end its own watch
    on_events(events[i].events);
  }
  RunTasks();
}

void EventLoop::Run() {
  stopped_ = false;
  while (!stopped_) Turn(kForever);
}

bool EventLoop::RunUntil(const std::function<bool()>& done, absl::Duration timeout) {
  const int64_t deadline = NowNs() + absl::ToInt64Nanoseconds(timeout);
  while (!done()) {
    if (NowNs() >= deadline) return false;
    Turn(deadline);
  }
  return true;
}

}  // namespace liveexec::harness
