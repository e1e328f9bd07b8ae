#include "handoff/conductor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "handoff/phase.h"

namespace liveexec {
namespace {
constexpr absl::Duration kWatchfulPause = absl::Milliseconds(100);
constexpr absl::Duration kLongest = absl::Hours(24 * 365 * 10);
}

absl::StatusOr<std::unique_ptr<Conductor>> Conductor::Create(ControlServer* control,
                                                             int upgrade_signal,
                                                             std::function<void()> on_signal) {
  std::unique_ptr<Conductor> conductor(new Conductor(control, std::move(on_signal)));
  conductor->wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!conductor->wake_) return ErrnoError(errno, "eventfd");
  if (upgrade_signal != 0) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, upgrade_signal);
    conductor->signal_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!conductor->signal_) return ErrnoError(errno, "signalfd");
  }
  return conductor;
}

void Conductor::Stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  eventfd_write(wake_.get(), 1);
  thread_.join();
}

void Conductor::Start() {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

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
  std::vector<absl::AnyInvocable<void() &&>> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  for (auto& task : tasks) std::move(task)();
}

void Conductor::TakeSignal() {
  struct signalfd_siginfo info;
  if (read(signal_.get(), &info, sizeof(info)) == sizeof(info)) on_signal_();
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
  absl::Duration wait = control_ != nullptr ? control_->UntilDeadline() : absl::InfiniteDuration();
  if (watchful_) wait = std::min(wait, kWatchfulPause);
  for (const Timer& timer : timers_) {
    wait = std::min(wait, absl::Nanoseconds(timer.due_ns - MonotonicNs()));
  }
  if (wait == absl::InfiniteDuration()) return -1;
  // Rounded up: waking too early would spin.
  int64_t ms = absl::ToInt64Milliseconds(wait) + 1;
  return static_cast<int>(std::clamp<int64_t>(ms, 0, 3'600'000));
}

void Conductor::Run() {
  pthread_setname_np(pthread_self(), "liveexec");
  std::vector<pollfd> fds;
  while (true) {
    {
      std::lock_guard lock(mutex_);
      if (stop_) return;
    }
    fds.clear();
    fds.push_back({wake_.get(), POLLIN, 0});
    if (signal_ && take_signal_) fds.push_back({signal_.get(), POLLIN, 0});
    if (control_ != nullptr) control_->AppendPollFds(fds);
    if (poll(fds.data(), fds.size(), PollTimeoutMs()) < 0 && errno != EINTR) continue;
    if (signal_ && take_signal_ && fds[1].fd == signal_.get() && fds[1].revents != 0) TakeSignal();
    if (control_ != nullptr) control_->Handle(fds);
    RunTimers();
    if (fds[0].revents != 0 || watchful_) RunTasks();
  }
}

}  // namespace liveexec
