#include "handoff/uv/loop_executor.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "handoff/uv/uv_error.h"

namespace liveexec::uv {

struct LoopExecutor::Wakeup {
  uv_async_t async;
  LoopExecutor* executor;
};

struct LoopExecutor::Watched {
  uv_poll_t poll;
  std::function<void()> on_readable;
};

LoopExecutor::LoopExecutor(uv_loop_t* loop) : loop_(loop), wakeup_(new Wakeup) {
  wakeup_->executor = this;
  const int error = uv_async_init(loop, &wakeup_->async, OnWakeup);
  if (error < 0) {
    status_ = UvError(error, "uv_async_init");
    delete wakeup_;
    wakeup_ = nullptr;
    return;
  }
  wakeup_->async.data = wakeup_;
}

LoopExecutor::~LoopExecutor() {
  Unwatch();
  if (wakeup_ == nullptr) return;
  wakeup_->executor = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&wakeup_->async),
           [](uv_handle_t* handle) { delete static_cast<Wakeup*>(handle->data); });
}

void LoopExecutor::Post(absl::AnyInvocable<void() &&> task) {
  bool wake;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    wake = posted_.empty();
    posted_.push_back(std::move(task));
  }
  // Whoever made the queue non-empty wakes the loop; the others ride along.
  if (wake && wakeup_ != nullptr) uv_async_send(&wakeup_->async);
}

void LoopExecutor::OnWakeup(uv_async_t* handle) noexcept {
  auto* wakeup = static_cast<Wakeup*>(handle->data);
  if (wakeup->executor == nullptr) return;
  wakeup->executor->TakePosted();
  wakeup->executor->RunBatch();
}

void LoopExecutor::TakePosted() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (batch_.empty()) {
    batch_.swap(posted_);
  } else {
    batch_.insert(batch_.end(), std::make_move_iterator(posted_.begin()),
                  std::make_move_iterator(posted_.end()));
    posted_.clear();
  }
}

void LoopExecutor::RunBatch() {
  // A task may call RunPosted, which runs the rest of this very batch and appends to it: so the
  // cursor is a member, and each task is moved out before it runs.
  while (next_ < batch_.size()) {
    absl::AnyInvocable<void()&&> task = std::move(batch_[next_++]);
    std::move(task)();
  }
  batch_.clear();
  next_ = 0;
}

bool LoopExecutor::RunPosted() {
  TakePosted();
  if (next_ == batch_.size()) return false;
  // Only what is there now: a task that posts itself again would never let this return.
  const size_t end = batch_.size();
  while (next_ < end) {
    absl::AnyInvocable<void()&&> task = std::move(batch_[next_++]);
    std::move(task)();
  }
  return true;
}

void LoopExecutor::BeforeStandstill() {
  for (const auto& [owner, task] : at_standstill_) task();
}

void LoopExecutor::AtStandstill(const void* owner, std::function<void()> task) {
  std::erase_if(at_standstill_, [&](const auto& one) { return one.first == owner; });
  if (task) at_standstill_.emplace_back(owner, std::move(task));
}

bool LoopExecutor::Watch(int fd, std::function<void()> on_readable) {
  Unwatch();
  auto* watched = new Watched{.poll = {}, .on_readable = std::move(on_readable)};
  if (uv_poll_init(loop_, &watched->poll, fd) < 0) {
    delete watched;
    return false;
  }
  watched_ = watched;
  watched->poll.data = watched;
  uv_unref(reinterpret_cast<uv_handle_t*>(&watched->poll));
  uv_poll_start(&watched->poll, UV_READABLE, [](uv_poll_t* handle, int, int) {
    static_cast<Watched*>(handle->data)->on_readable();
  });
  return true;
}

void LoopExecutor::Unwatch() {
  if (watched_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(&std::exchange(watched_, nullptr)->poll),
           [](uv_handle_t* handle) { delete static_cast<Watched*>(handle->data); });
}

int LoopExecutor::OperationsInFlight() {
  const int active = static_cast<int>(loop_->active_reqs.count);
  return std::max(0, active - (carried_ ? carried_() : 0));
}

void LoopExecutor::KeepLoopAlive(bool keep) {
  if (wakeup_ == nullptr) return;
  auto* handle = reinterpret_cast<uv_handle_t*>(&wakeup_->async);
  keep ? uv_ref(handle) : uv_unref(handle);
}

absl::Status CloseLoop(uv_loop_t* loop) {
  struct Open {
    std::vector<std::string> names;
    bool closing = false;
  } open;
  // A handle that is being closed is gone after one iteration, without waiting. Its callback may
  // close another, or uv_stop() may have cut the iteration short: hence a few, but not endlessly.
  for (int i = 0; i < 64; ++i) {
    if (uv_loop_close(loop) == 0) return absl::OkStatus();
    open = {};
    const auto look = [](uv_handle_t* handle, void* any) {
      auto* found = static_cast<Open*>(any);
      found->names.push_back(uv_handle_type_name(uv_handle_get_type(handle)));
      found->closing |= uv_is_closing(handle) != 0;
    };
    uv_walk(loop, look, &open);
    if (!open.closing && loop->active_reqs.count == 0) break;
    uv_run(loop, UV_RUN_NOWAIT);
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the loop cannot be closed; ", loop->active_reqs.count,
                   " requests and these handles are left: ", absl::StrJoin(open.names, ", ")));
}

}  // namespace liveexec::uv
