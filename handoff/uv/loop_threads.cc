#include "handoff/uv/loop_threads.h"

#include <deque>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/crew.h"
#include "handoff/uv/uv_error.h"

namespace liveexec::uv {
namespace {

// A loop with its executor, made before and destroyed after the thread that runs it.
class ThreadLoop {
 public:
  absl::Status Open() {
    const int error = uv_loop_init(&loop_);
    if (error < 0) return UvError(error, "uv_loop_init");
    open_ = true;
    executor_ = std::make_unique<LoopExecutor>(&loop_);
    return executor_->status();
  }

  ~ThreadLoop() {
    executor_.reset();
    // Handles that the application left open stay with it: what it did not close it may still use.
    if (open_) CloseLoop(&loop_).IgnoreError();
  }

  LoopExecutor* executor() { return executor_.get(); }

  CrewMember member() {
    return {
        .executor = executor_.get(),
        .run = [this] { uv_run(&loop_, UV_RUN_DEFAULT); },
        .stop = [this] { uv_stop(&loop_); },
    };
  }

 private:
  uv_loop_t loop_;
  bool open_ = false;
  std::unique_ptr<LoopExecutor> executor_;
};

}  // namespace

absl::Status WithLoopThreads(Upgrader& upgrader, int n,
                             absl::FunctionRef<void(absl::Span<LoopExecutor* const>)> body) {
  if (n < 0 || n > 1024) {
    return absl::InvalidArgumentError(absl::StrCat(n, " loop threads are not 0 to 1024"));
  }
  std::deque<ThreadLoop> loops(static_cast<size_t>(n));
  std::vector<LoopExecutor*> executors;
  std::vector<CrewMember> members;
  for (ThreadLoop& loop : loops) {
    LIVEEXEC_RETURN_IF_ERROR(loop.Open());
    executors.push_back(loop.executor());
    members.push_back(loop.member());
  }
  return WithCrew(upgrader, members, [&] { body(executors); });
}

}  // namespace liveexec::uv
