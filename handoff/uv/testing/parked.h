// What an upgrade does to the threads of a server, for tests without one.
#ifndef LIVEEXEC_HANDOFF_UV_TESTING_PARKED_H_
#define LIVEEXEC_HANDOFF_UV_TESTING_PARKED_H_

#include <condition_variable>
#include <mutex>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "handoff/executor.h"
#include "handoff/upgrader.h"

namespace liveexec::uv::testing {

// Knows which threads were registered, and nothing else.
class FakeUpgrader final : public Upgrader {
 public:
  bool fresh() const override { return true; }
  absl::Status Register(Component&) override { return absl::OkStatus(); }
  void AddThread(Executor& executor) override { threads_.insert(&executor); }
  void RemoveThread(Executor& executor) override { threads_.erase(&executor); }
  absl::Status Start() override { return absl::OkStatus(); }
  void Request(UpgradeRequest, Done) override {}
  Journal journal() const override { return {}; }
  uint64_t last_upgrade() const override { return 0; }
  uint64_t generation() const override { return 0; }

  const std::set<Executor*>& threads() const { return threads_; }

 private:
  std::set<Executor*> threads_;
};

// Stops `executors` (not the caller's own) for as long as it lives, after what had been posted to
// them.
class Parked {
 public:
  explicit Parked(std::vector<Executor*> executors) : executors_(std::move(executors)) {
    for (Executor* executor : executors_) {
      executor->Post([this, executor] { Park(*executor); });
    }
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return parked_ == executors_.size(); });
  }

  ~Parked() {
    std::unique_lock<std::mutex> lock(mutex_);
    released_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return parked_ == 0; });
  }

  // Lets each run what was posted to it since it stopped; true if there was any.
  bool RunPosted() {
    std::unique_lock<std::mutex> lock(mutex_);
    ++round_;
    answers_ = 0;
    ran_ = false;
    changed_.notify_all();
    changed_.wait(lock, [this] { return answers_ == executors_.size(); });
    return ran_;
  }

 private:
  void Park(Executor& executor) {
    std::unique_lock<std::mutex> lock(mutex_);
    ++parked_;
    changed_.notify_all();
    for (int round = round_; !released_;) {
      changed_.wait(lock, [&] { return released_ || round_ != round; });
      if (released_) break;
      round = round_;
      lock.unlock();
      const bool ran = executor.RunPosted();
      lock.lock();
      ran_ |= ran;
      ++answers_;
      changed_.notify_all();
    }
    --parked_;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  const std::vector<Executor*> executors_;
  size_t parked_ = 0;
  size_t answers_ = 0;
  int round_ = 0;
  bool ran_ = false;
  bool released_ = false;
};

}  // namespace liveexec::uv::testing

#endif  // LIVEEXEC_HANDOFF_UV_TESTING_PARKED_H_
