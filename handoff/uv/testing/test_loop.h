// TestLoop: a libuv loop that the test's own thread runs until something has happened.
#ifndef LIVEEXEC_HANDOFF_UV_TESTING_TEST_LOOP_H_
#define LIVEEXEC_HANDOFF_UV_TESTING_TEST_LOOP_H_

#include <gtest/gtest.h>
#include <uv.h>

#include <chrono>
#include <memory>

#include "absl/functional/function_ref.h"
#include "handoff/uv/loop_executor.h"

namespace liveexec::uv::testing {

// Declare it before the components that use it: they must be gone first. Fails the test if a handle
// is left open at the end.
class TestLoop {
 public:
  TestLoop() {
    EXPECT_EQ(uv_loop_init(&loop_), 0);
    uv_timer_init(&loop_, &tick_);
    // The condition may be about another thread or a socket that this loop does not watch, so it is
    // looked at again every millisecond.
    uv_timer_start(
        &tick_, [](uv_timer_t*) {}, 1, 1);
    executor_ = std::make_unique<LoopExecutor>(&loop_);
  }

  ~TestLoop() {
    executor_.reset();
    uv_close(reinterpret_cast<uv_handle_t*>(&tick_), nullptr);
    const absl::Status closed = CloseLoop(&loop_);
    EXPECT_TRUE(closed.ok()) << closed;
  }

  LoopExecutor& executor() { return *executor_; }
  uv_loop_t* loop() { return &loop_; }

  // Runs the loop until `done`, which is called between iterations. False, and a failure of the
  // test, after 30 seconds.
  bool RunUntil(absl::FunctionRef<bool()> done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "the event did not come within 30 s";
        return false;
      }
      uv_run(&loop_, UV_RUN_ONCE);
    }
    return true;
  }

  // Two iterations without waiting: whatever is ready has its turn.
  void RunReady() {
    uv_run(&loop_, UV_RUN_NOWAIT);
    uv_run(&loop_, UV_RUN_NOWAIT);
  }

 private:
  uv_loop_t loop_;
  uv_timer_t tick_;
  std::unique_ptr<LoopExecutor> executor_;
};

}  // namespace liveexec::uv::testing

#endif  // LIVEEXEC_HANDOFF_UV_TESTING_TEST_LOOP_H_
