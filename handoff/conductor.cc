#include "handoff/conductor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "handoff/framework_thread.h"
#include "handoff/guarded_call.h"
#include "handoff/phase.h"

namespace liveexec {
namespace {
constexpr absl::Duration kWatchfulPause = absl::Milliseconds(100);
constexpr absl::Duration kLongest = absl::Hours(24 * 365 * 10);
constexpr int kMemoryPauseMs = 10;
// Room that is there from the beginning: also where no memory is left, the event loop turns.
constexpr size_t kFds = 128;
constexpr size_t kTasks = 64;
constexpr size_t kTimers = 8;
}  // namespace

absl::StatusOr<std::unique_ptr<Conductor>> Conductor::Create(Options options) {
  std::unique_ptr<Conductor> conductor(new Conductor(std::move(options)));
  conductor->watched_.reserve(kFds);
  conductor->polled_.reserve(kFds);
  conductor->tasks_.reserve(kTasks);
  conductor->running_.reserve(kTasks);
  conductor->timers_.reserve(kTimers);
  conductor->wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!conductor->wake_) return ErrnoError(errno, "eventfd");
  if (conductor->options_.upgrade_signal != 0) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, conductor->options_.upgrade_signal);
    conductor->signal_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!conductor->signal_) return ErrnoError(errno, "signalfd");
  }
  if (conductor->options_.host == nullptr) return conductor;
  // Made once: where no fds are left after an upgrade, it comes home all the same.
  conductor->guest_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  if (!conductor->guest_) return ErrnoError(errno, "epoll_create1");
  conductor->guest_timer_ = UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!conductor->guest_timer_) return ErrnoError(errno, "timerfd_create");
  return conductor;
}

absl::Status Conductor::Start() {
  const absl::Status watched = CatchingCall("be watched", [this] {
    may_be_guest_ = options_.host != nullptr && BecomeGuest();
    return absl::OkStatus();
  });
  if (!watched.ok()) return watched;
  return may_be_guest_ ? absl::OkStatus() : StartThread();
}

std::vector<int> Conductor::OwnFds() const {
  std::vector<int> fds;
  for (const UniqueFd* fd : {&wake_, &signal_, &guest_, &guest_timer_}) {
    if (*fd) fds.push_back(fd->get());
  }
  return fds;
}

void Conductor::Stop() {
  *exists_ = false;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  eventfd_write(wake_.get(), 1);
  if (thread_.joinable()) JoinThread();
  if (is_guest_) LeaveHost();
}

// ---- As the host's guest

// False when the host cannot watch an fd.
bool Conductor::BecomeGuest() {
  is_guest_ = options_.host->Watch(guest_.get(), [this] { OnWatched(); });
  if (is_guest_) WatchAll();
  return is_guest_;
}

void Conductor::LeaveHost() {
  options_.host->Unwatch();
  UnwatchAll();
  is_guest_ = false;
}

void Conductor::OnWatched() {
  UnwatchAll();
  Turn(0);
  if (!needs_thread_ && !next_turn_on_thread_) return WatchAll();
  // An upgrade goes on without: what its thread would do is done between the host's callbacks.
  if (!StartThread().ok()) return WatchAll();
  LeaveHost();
}

void Conductor::WatchAll() {
  struct itimerspec timer = {};
  if (const int64_t ms = PollTimeoutMs(); ms >= 0) {
    // All zero would be: never.
    timer.it_value.tv_sec = ms / 1000;
    timer.it_value.tv_nsec = ms % 1000 * 1'000'000 + 1;
  }
  timerfd_settime(guest_timer_.get(), 0, &timer, nullptr);
  UpdatePolled();
  polled_.push_back({guest_timer_.get(), POLLIN, 0});
  for (const pollfd& one : polled_) {
    static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT);
    struct epoll_event event = {.events = static_cast<uint32_t>(one.events), .data = {}};
    if (epoll_ctl(guest_.get(), EPOLL_CTL_ADD, one.fd, &event) == 0) watched_.push_back(one.fd);
  }
}

// Before a turn, which may close some: a duplicate in a child would keep one that was closed in the
// set, ready for ever, and nobody could take it out.
void Conductor::UnwatchAll() {
  for (int fd : watched_) epoll_ctl(guest_.get(), EPOLL_CTL_DEL, fd, nullptr);
  watched_.clear();
}

// ---- On its own thread

absl::Status Conductor::StartThread() {
  const absl::Status status = CatchingCall("start a thread", [&]() -> absl::Status {
    if (options_.parking != nullptr) options_.parking->Add(*this);
    absl::AnyInvocable<void()&&> body = [this] { Run(); };
    LIVEEXEC_ASSIGN_OR_RETURN(thread_, StartFrameworkThread(body));
    return absl::OkStatus();
  });
  no_thread_ = !status.ok();
  if (no_thread_ && options_.parking != nullptr) options_.parking->Remove(*this);
  return status;
}

void Conductor::JoinThread() {
  thread_.join();
  on_own_thread_ = false;
  if (options_.parking != nullptr) options_.parking->Remove(*this);
}

void Conductor::Run() {
  on_own_thread_ = true;
  while (true) {
    {
      std::lock_guard lock(mutex_);
      if (stop_) return;
    }
    next_turn_on_thread_ = false;
    Turn(PollTimeoutMs());
    if (!may_be_guest_ || needs_thread_ || next_turn_on_thread_) continue;
    if (AskToComeHome()) return;
  }
}

bool Conductor::AskToComeHome() {
  const absl::Status asked = CatchingCall("come home", [&] {
    options_.host->Post([this, exists = exists_] {
      if (*exists) ComeHome();
    });
    return absl::OkStatus();
  });
  return asked.ok();
}

void Conductor::ComeHome() {
  if (thread_.joinable()) JoinThread();
  bool is_home = false;
  (void)CatchingCall("come home", [&] {
    is_home = BecomeGuest();
    return absl::OkStatus();
  });
  if (is_home) return;
  // On its thread, then, until it is next asked to leave.
  needs_thread_ = true;
  if (StartThread().ok()) return;
  // Neither a thread nor fds: there will be some again.
  while (!AskToComeHome()) poll(nullptr, 0, kMemoryPauseMs);
}

// ---- In both

void Conductor::Post(absl::AnyInvocable<void() &&> task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  eventfd_write(wake_.get(), 1);
}

uint64_t Conductor::SetTimer(absl::Duration delay, absl::AnyInvocable<void() &&> task) {
  // Bounded, so that an endless delay does not wrap around into the past.
  int64_t delay_ns = absl::ToInt64Nanoseconds(std::clamp(delay, absl::ZeroDuration(), kLongest));
  int64_t due_ns = MonotonicNs() + delay_ns;
  timers_.push_back({next_timer_, due_ns, std::move(task)});
  return next_timer_++;
}

void Conductor::CancelTimer(uint64_t timer) {
  std::erase_if(timers_, [&](const Timer& one) { return one.number == timer; });
}

void Conductor::RunTasks() {
  eventfd_t count;
  eventfd_read(wake_.get(), &count);
  {
    std::lock_guard lock(mutex_);
    running_.swap(tasks_);
  }
  // One that there is no memory for must not end the server, nor keep the others from being run.
  for (auto& task : running_) {
    (void)CatchingCall("a task", [&] {
      std::move(task)();
      return absl::OkStatus();
    });
  }
  running_.clear();
}

void Conductor::TakeSignal() {
  struct signalfd_siginfo info;
  if (read(signal_.get(), &info, sizeof(info)) == sizeof(info)) signalled_ = true;
  if (!signalled_) return;
  options_.on_signal();
  signalled_ = false;
}

void Conductor::RunTimers() {
  int64_t now_ns = MonotonicNs();
  while (true) {
    auto due = std::find_if(timers_.begin(), timers_.end(),
                            [&](const Timer& one) { return one.due_ns <= now_ns; });
    if (due == timers_.end()) return;
    // Taken out first: the task may set another.
    auto task = std::move(due->task);
    timers_.erase(due);
    std::move(task)();
  }
}

int Conductor::PollTimeoutMs() const {
  absl::Duration wait =
      options_.control != nullptr ? options_.control->UntilDeadline() : absl::InfiniteDuration();
  if (watchful_) wait = std::min(wait, kWatchfulPause);
  for (const Timer& timer : timers_) {
    wait = std::min(wait, absl::Nanoseconds(timer.due_ns - MonotonicNs()));
  }
  if (wait == absl::InfiniteDuration()) return -1;
  // Rounded up: waking too early would spin.
  int64_t ms = absl::ToInt64Milliseconds(wait) + 1;
  return static_cast<int>(std::clamp<int64_t>(ms, 0, 3'600'000));
}

void Conductor::UpdatePolled() {
  polled_.clear();
  polled_.push_back({wake_.get(), POLLIN, 0});
  if (signal_ && take_signal_) polled_.push_back({signal_.get(), POLLIN, 0});
  if (options_.control != nullptr) options_.control->AppendPollFds(polled_);
}

void Conductor::Turn(int timeout_ms) {
  const absl::Status turned = CatchingCall("a turn", [&] {
    TurnWithMemory(timeout_ms);
    return absl::OkStatus();
  });
  if (turned.ok()) return;
  if (on_own_thread_) poll(nullptr, 0, kMemoryPauseMs);
  eventfd_write(wake_.get(), 1);
}

void Conductor::TurnWithMemory(int timeout_ms) {
  UpdatePolled();
  if (poll(polled_.data(), polled_.size(), timeout_ms) < 0 && errno != EINTR) return;
  const bool woken = polled_[0].revents != 0;
  if (signal_ && take_signal_ && polled_[1].fd == signal_.get() &&
      (polled_[1].revents != 0 || signalled_)) {
    TakeSignal();
  }
  if (options_.control != nullptr) options_.control->Handle(polled_);
  RunTimers();
  if (woken || watchful_) RunTasks();
}

}  // namespace liveexec
