#include "handoff/uv/loop_executor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <uv.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "core/unique_fd.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TestLoop;

TEST(LoopExecutor, RunsTasksOfOtherThreadsInTheOrderOfEach) {
  TestLoop loop;
  constexpr int kThreads = 4;
  constexpr int kTasks = 1000;
  std::vector<std::vector<int>> ran(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kTasks; ++i) {
        loop.executor().Post([&ran, t, i] { ran[static_cast<size_t>(t)].push_back(i); });
      }
    });
  }
  loop.RunUntil([&] {
    for (const auto& one : ran) {
      if (one.size() != kTasks) return false;
    }
    return true;
  });
  for (std::thread& thread : threads) thread.join();
  for (const auto& one : ran) {
    for (int i = 0; i < kTasks; ++i) EXPECT_EQ(one[static_cast<size_t>(i)], i);
  }
}

TEST(LoopExecutor, DoesNotRunATaskBeforePostReturns) {
  TestLoop loop;
  bool posting = false;
  bool ran = false;
  loop.executor().Post([&] {
    posting = true;
    loop.executor().Post([&] {
      EXPECT_FALSE(posting);
      ran = true;
    });
    posting = false;
  });
  loop.RunUntil([&] { return ran; });
}

struct Reposter {
  LoopExecutor& executor;
  int runs = 0;
  bool stop = false;
  void Run() {
    ++runs;
    if (!stop) executor.Post([this] { Run(); });
  }
};

TEST(LoopExecutor, LetsTimersRunBesidesATaskThatPostsItselfAgain) {
  TestLoop loop;
  Reposter reposter{loop.executor()};
  reposter.Run();
  uv_timer_t timer;
  uv_timer_init(loop.loop(), &timer);
  timer.data = &reposter;
  uv_timer_start(
      &timer, [](uv_timer_t* t) { static_cast<Reposter*>(t->data)->stop = true; }, 5, 0);
  loop.RunUntil([&] { return reposter.stop; });
  EXPECT_GT(reposter.runs, 1);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
  loop.RunReady();
}

TEST(LoopExecutor, RunsOnDemandTheTasksBehindTheOneThatStopsTheLoop) {
  TestLoop loop;
  std::vector<int> ran;
  bool done = false;
  loop.executor().Post([&] {
    EXPECT_TRUE(loop.executor().RunPosted());
    EXPECT_THAT(ran, ElementsAre(1, 2));
    // Posted by the task that just ran: there is more.
    EXPECT_TRUE(loop.executor().RunPosted());
    EXPECT_THAT(ran, ElementsAre(1, 2, 3));
    EXPECT_FALSE(loop.executor().RunPosted());
    done = true;
  });
  loop.executor().Post([&] { ran.push_back(1); });
  loop.executor().Post([&] {
    ran.push_back(2);
    loop.executor().Post([&] { ran.push_back(3); });
  });
  loop.RunUntil([&] { return done; });
  loop.RunReady();
  EXPECT_THAT(ran, ElementsAre(1, 2, 3));
}

// Thread-pool work that lasts until it is told to end.
struct Work {
  uv_work_t request;
  std::mutex mutex;
  std::condition_variable changed;
  bool may_end = false;
  bool after_ran = false;

  void Start(uv_loop_t* loop) {
    request.data = this;
    uv_queue_work(
        loop, &request,
        [](uv_work_t* r) {
          auto* self = static_cast<Work*>(r->data);
          std::unique_lock<std::mutex> lock(self->mutex);
          self->changed.wait(lock, [&] { return self->may_end; });
        },
        [](uv_work_t* r, int) { static_cast<Work*>(r->data)->after_ran = true; });
  }
  void End() {
    std::lock_guard<std::mutex> lock(mutex);
    may_end = true;
    changed.notify_all();
  }
};

TEST(LoopExecutor, CountsThreadPoolWorkUntilItsResultIsDelivered) {
  TestLoop loop;
  EXPECT_EQ(loop.executor().OperationsInFlight(), 0);
  Work work;
  work.Start(loop.loop());
  EXPECT_EQ(loop.executor().OperationsInFlight(), 1);
  loop.RunReady();
  EXPECT_EQ(loop.executor().OperationsInFlight(), 1);
  work.End();
  loop.RunUntil([&] { return work.after_ran; });
  EXPECT_EQ(loop.executor().OperationsInFlight(), 0);
}

TEST(LoopExecutor, DoesNotCountWhatTheApplicationCarriesItself) {
  TestLoop loop;
  Work work;
  work.Start(loop.loop());
  loop.executor().SetCarriedOperations([] { return 1; });
  EXPECT_EQ(loop.executor().OperationsInFlight(), 0);
  work.End();
  loop.RunUntil([&] { return work.after_ran; });
  EXPECT_EQ(loop.executor().OperationsInFlight(), 0);  // not negative
}

TEST(LoopExecutor, LetsTheLoopEndWhenItIsToldTo) {
  uv_loop_t loop;
  ASSERT_EQ(uv_loop_init(&loop), 0);
  {
    LoopExecutor executor(&loop);
    ASSERT_TRUE(executor.status().ok());
    executor.KeepLoopAlive(false);
    uv_run(&loop, UV_RUN_DEFAULT);  // returns: nothing else is there
  }
  EXPECT_TRUE(CloseLoop(&loop).ok());
}

TEST(LoopExecutor, CallsWhoWatchesAnFdWhileItIsReadableAndNoLongerThanItIsWatched) {
  TestLoop loop;
  UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  int calls = 0;
  ASSERT_TRUE(loop.executor().Watch(fd.get(), [&] { ++calls; }));
  loop.RunReady();
  EXPECT_EQ(calls, 0);
  eventfd_write(fd.get(), 1);
  loop.RunUntil([&] { return calls >= 2; });
  int others = 0;
  ASSERT_TRUE(loop.executor().Watch(fd.get(), [&] {
    ++others;
    loop.executor().Unwatch();
    loop.executor().Unwatch();
  }));
  calls = 0;
  loop.RunUntil([&] { return others > 0; });
  loop.RunReady();
  EXPECT_EQ(others, 1) << "it unwatched itself";
  EXPECT_EQ(calls, 0) << "there is one at a time";
  ASSERT_TRUE(loop.executor().Watch(fd.get(), [&] { ++others; })) << "and again";
  loop.RunUntil([&] { return others > 1; });
}

TEST(LoopExecutor, AnFdThatEpollDoesNotTakeIsNotWatched) {
  TestLoop loop;
  UniqueFd file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(loop.executor().Watch(file.get(), [] {}));
  EXPECT_FALSE(loop.executor().Watch(-1, [] {}));
  loop.executor().Unwatch();
}

TEST(LoopExecutor, AWatchedFdDoesNotKeepTheLoopRunning) {
  uv_loop_t loop;
  ASSERT_EQ(uv_loop_init(&loop), 0);
  UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  {
    LoopExecutor executor(&loop);
    executor.KeepLoopAlive(false);
    ASSERT_TRUE(executor.Watch(fd.get(), [] {}));
    uv_run(&loop, UV_RUN_DEFAULT);  // returns: nothing else is there
  }
  EXPECT_TRUE(CloseLoop(&loop).ok());
}

TEST(CloseLoop, NamesTheHandlesThatAreLeftOpen) {
  uv_loop_t loop;
  ASSERT_EQ(uv_loop_init(&loop), 0);
  uv_timer_t timer;
  uv_timer_init(&loop, &timer);
  const absl::Status status = CloseLoop(&loop);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("timer"));
  uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
  EXPECT_TRUE(CloseLoop(&loop).ok());
}

}  // namespace
}  // namespace liveexec::uv
