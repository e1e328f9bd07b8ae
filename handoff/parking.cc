#include "handoff/parking.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "handoff/guarded_call.h"

namespace liveexec {

bool BlackoutTicket::Unclaim() {
  if (Move(kClaimed, kWaiting)) return true;
  Move(kClaimedForTheLastTime, kCancelled);
  return false;
}

bool BlackoutTicket::CancelWhatFollows() {
  // Whoever runs the blackout may claim it, and end it, in between.
  while (!cancelled()) {
    if (Cancel()) return true;
    if (Move(kClaimed, kClaimedForTheLastTime) || state_ == kClaimedForTheLastTime) return false;
  }
  return false;
}

// One attempt to park. The tasks share it: one that is late finds it released and just returns.
struct Parking::Gathering {
  std::mutex mutex;
  std::condition_variable arrived;
  std::condition_variable released;
  size_t parked = 0;
  bool busy = false;  // a thread has operations in flight
  bool release = false;
  bool refuse_busy = false;

  // On the thread to be parked.
  void Arrive(Executor& executor) {
    executor.BeforeStandstill();
    std::unique_lock lock(mutex);
    if (release) return;
    if (refuse_busy && executor.OperationsInFlight() > 0) {
      busy = true;
      arrived.notify_all();
      return;
    }
    // A signal that this thread took now would run a handler of a program that is about to end.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ++parked;
    arrived.notify_all();
    released.wait(lock, [&] { return release; });
    --parked;
    arrived.notify_all();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
};

namespace {

// Counts executors that have been seen without operations in flight.
struct Draining {
  Executor* main;
  std::shared_ptr<BlackoutTicket> ticket;
  std::function<void()> then;
  std::atomic<size_t> left;
};

void PostDrain(Executor& executor, std::shared_ptr<Draining> draining);

void Drain(Executor& executor, std::shared_ptr<Draining> draining) {
  if (draining->ticket->cancelled()) return;
  if (executor.OperationsInFlight() > 0) {
    // The loop goes on; this is looked at again in its next turn.
    PostDrain(executor, std::move(draining));
    return;
  }
  if (draining->left.fetch_sub(1) != 1) return;
  draining->main->Post([draining] { draining->then(); });
}

void PostDrain(Executor& executor, std::shared_ptr<Draining> draining) {
  executor.Post([&executor, draining = std::move(draining)]() mutable {
    // In the application's loop: where there is no memory to go on, the attempt's deadline ends it.
    (void)CatchingCall("wait for operations in flight", [&] {
      Drain(executor, std::move(draining));
      return absl::OkStatus();
    });
  });
}

}  // namespace

void Parking::Add(Executor& executor) {
  std::lock_guard lock(mutex_);
  executors_.push_back(&executor);
}

void Parking::Remove(Executor& executor) {
  std::unique_lock lock(mutex_);
  not_in_use_.wait(lock, [&] { return gathering_ == nullptr; });
  executors_.erase(std::remove(executors_.begin(), executors_.end(), &executor), executors_.end());
}

size_t Parking::size() {
  std::lock_guard lock(mutex_);
  return executors_.size();
}

std::vector<Executor*> Parking::Executors() {
  std::lock_guard lock(mutex_);
  return executors_;
}

void Parking::WhenDrained(Executor& main, std::shared_ptr<BlackoutTicket> ticket,
                          std::function<void()> then) {
  std::vector<Executor*> executors = Executors();
  executors.push_back(&main);
  auto draining = std::make_shared<Draining>();
  draining->main = &main;
  draining->ticket = std::move(ticket);
  draining->then = std::move(then);
  draining->left = executors.size();
  for (Executor* executor : executors) PostDrain(*executor, draining);
}

absl::Status Parking::Park(For purpose, absl::Duration deadline, Executor* except) {
  auto gathering = std::make_shared<Gathering>();
  gathering->refuse_busy = purpose == For::kExec;
  std::vector<Executor*> executors;
  {
    std::lock_guard lock(mutex_);
    gathering_ = gathering;
    executors = executors_;
  }
  std::erase(executors, except);
  for (Executor* executor : executors) {
    executor->Post([executor, gathering] { gathering->Arrive(*executor); });
  }
  bool in_time, busy;
  size_t parked;
  {
    std::unique_lock lock(gathering->mutex);
    // Bounded, so that an endless deadline does not wrap around into the past.
    auto wait = absl::ToChronoNanoseconds(std::min(deadline, absl::Hours(24 * 365 * 10)));
    in_time = gathering->arrived.wait_for(
        lock, wait, [&] { return gathering->busy || gathering->parked == executors.size(); });
    busy = gathering->busy;
    parked = gathering->parked;
  }
  if (in_time && !busy) return absl::OkStatus();
  Release();
  if (busy) return absl::UnavailableError("a thread has operations in flight again");
  return absl::DeadlineExceededError(absl::StrCat(executors.size() - parked, " of ",
                                                  executors.size(),
                                                  " threads did not come to a stop in time"));
}

absl::Status Parking::RunPosted(Executor& main) {
  constexpr int kMaxRounds = 1000;
  std::vector<Executor*> executors = Executors();
  executors.push_back(&main);
  bool any = true;
  for (int round = 0; any; ++round) {
    if (round == kMaxRounds) return absl::UnavailableError("tasks go on posting tasks");
    any = false;
    for (Executor* executor : executors) any |= executor->RunPosted();
  }
  for (Executor* executor : executors) {
    if (executor->OperationsInFlight() > 0) {
      return absl::UnavailableError("a thread has operations in flight again");
    }
  }
  return absl::OkStatus();
}

void Parking::Release() {
  std::shared_ptr<Gathering> gathering;
  {
    std::lock_guard lock(mutex_);
    gathering = gathering_;
  }
  if (gathering == nullptr) return;
  {
    std::unique_lock lock(gathering->mutex);
    gathering->release = true;
    gathering->released.notify_all();
    gathering->arrived.wait(lock, [&] { return gathering->parked == 0; });
  }
  std::lock_guard lock(mutex_);
  gathering_ = nullptr;
  not_in_use_.notify_all();
}

}  // namespace liveexec
