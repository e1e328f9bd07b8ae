#include "handoff/testing/thread_executor.h"

#include <future>
#include <utility>

namespace liveexec {

ThreadExecutor::ThreadExecutor() : thread_([this] { Loop(); }) {}

ThreadExecutor::~ThreadExecutor() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    more_.notify_one();
  }
  thread_.join();
}

void ThreadExecutor::Post(absl::AnyInvocable<void() &&> task) {
  std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  more_.notify_one();
}

int ThreadExecutor::OperationsInFlight() {
  ++asked_;
  return operations_;
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

void ThreadExecutor::Loop() {
  while (true) {
    absl::AnyInvocable<void() &&> task;
    {
      std::unique_lock lock(mutex_);
      more_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    std::move(task)();
  }
}

}  // namespace liveexec
