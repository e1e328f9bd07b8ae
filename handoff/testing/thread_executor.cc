#include "handoff/testing/thread_executor.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <future>
#include <utility>

namespace liveexec {

ThreadExecutor::ThreadExecutor(Watching watching)
    : watching_(watching),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { Loop(); }) {}

ThreadExecutor::~ThreadExecutor() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  eventfd_write(wake_.get(), 1);
  thread_.join();
}

void ThreadExecutor::Post(absl::AnyInvocable<void() &&> task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  eventfd_write(wake_.get(), 1);
}

bool ThreadExecutor::Watch(int fd, std::function<void()> on_readable) {
  if (watching_ == Watching::kCannot) return false;
  watched_ = fd;
  on_readable_ = std::move(on_readable);
  return true;
}

int ThreadExecutor::OperationsInFlight() {
  ++asked_;
  const int operations = operations_;
  if (on_asked_) on_asked_();
  return operations;
}

void ThreadExecutor::BeforeStandstill() {
  ++standstills_;
  if (on_standstill_) on_standstill_();
}

void ThreadExecutor::Run(absl::AnyInvocable<void() &&> task) {
  std::promise<void> done;
  Post([&] {
    std::move(task)();
    done.set_value();
  });
  done.get_future().wait();
}

void ThreadExecutor::Settle() {
  // Twice: the first time is behind what was posted, the second behind what that posted.
  Run([] {});
  Run([] {});
}

bool ThreadExecutor::RunOne() {
  absl::AnyInvocable<void() &&> task;
  {
    std::lock_guard lock(mutex_);
    if (tasks_.empty()) return false;
    task = std::move(tasks_.front());
    tasks_.pop_front();
  }
  std::move(task)();
  return true;
}

void ThreadExecutor::Loop() {
  while (true) {
    // A negative fd is skipped.
    pollfd fds[] = {{wake_.get(), POLLIN, 0}, {watched_, POLLIN, 0}};
    poll(fds, 2, -1);
    // As in any event loop, the fd has its turn however many tasks there are.
    if (fds[1].revents != 0 && watched_ == fds[1].fd) on_readable_();
    if (fds[0].revents == 0 || RunOne()) continue;
    eventfd_t count;
    eventfd_read(wake_.get(), &count);
    // Posted between the two: it finds the eventfd read, and so is run now.
    if (RunOne()) eventfd_write(wake_.get(), 1);
    std::lock_guard lock(mutex_);
    if (stop_ && tasks_.empty()) return;
  }
}

}  // namespace liveexec
