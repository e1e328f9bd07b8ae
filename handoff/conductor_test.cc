#include "handoff/conductor.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/testing/open_files.h"
#include "gtest/gtest.h"
#include "handoff/phase.h"

namespace liveexec {
namespace {

constexpr int kSignal = SIGUSR1;

std::unique_ptr<Conductor> NewConductor(int upgrade_signal = 0,
                                        std::function<void()> on_signal = nullptr) {
  auto conductor =
      Conductor::Create({.upgrade_signal = upgrade_signal, .on_signal = std::move(on_signal)});
  EXPECT_TRUE(conductor.ok()) << conductor.status();
  return *std::move(conductor);
}

void RunOn(Conductor& conductor, absl::AnyInvocable<void() &&> task) {
  std::promise<void> done;
  conductor.Post([&] {
    std::move(task)();
    done.set_value();
  });
  done.get_future().wait();
}

// The upgrade signal is blocked in every thread, as the upgrader does it.
class WithSignalBlocked {
 public:
  WithSignalBlocked() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kSignal);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~WithSignalBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  static bool Pending() {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, kSignal) == 1;
  }

 private:
  sigset_t before_;
};

TEST(Conductor, RunsTasksInTheOrderInWhichTheyWerePosted) {
  auto conductor = NewConductor();
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) conductor->Post([&order, i] { order.push_back(i); });
  ASSERT_TRUE(conductor->Start().ok());
  for (int i = 100; i < 1000; ++i) conductor->Post([&order, i] { order.push_back(i); });
  RunOn(*conductor, [] {});
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(Conductor, ATaskMayPostAnotherWhichDoesNotRunBeforePostReturns) {
  auto conductor = NewConductor();
  ASSERT_TRUE(conductor->Start().ok());
  std::vector<std::string> order;
  std::promise<void> done;
  conductor->Post([&] {
    conductor->Post([&] {
      order.push_back("inner");
      done.set_value();
    });
    order.push_back("outer");
  });
  done.get_future().wait();
  EXPECT_EQ(order, (std::vector<std::string>{"outer", "inner"}));
}

TEST(Conductor, ItsThreadHasItsNameAndAllSignalsBlocked) {
  auto conductor = NewConductor();
  ASSERT_TRUE(conductor->Start().ok());
  char name[16] = {};
  sigset_t mask;
  RunOn(*conductor, [&] {
    pthread_getname_np(pthread_self(), name, sizeof(name));
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  });
  EXPECT_STREQ(name, "liveexec");
  for (int number : {SIGHUP, SIGTERM, SIGINT, SIGUSR2, SIGCHLD, SIGALRM}) {
    EXPECT_EQ(sigismember(&mask, number), 1) << number;
  }
  sigset_t own;
  pthread_sigmask(SIG_BLOCK, nullptr, &own);
  EXPECT_EQ(sigismember(&own, SIGTERM), 0) << "the starting thread's mask is as before";
}

TEST(Conductor, ATimerRunsOnceAndNotBeforeItsTime) {
  auto conductor = NewConductor();
  ASSERT_TRUE(conductor->Start().ok());
  std::promise<void> fired;
  std::atomic<int> times{0};
  int64_t set_ns = 0, fired_ns = 0;
  RunOn(*conductor, [&] {
    set_ns = MonotonicNs();
    conductor->SetTimer(absl::Milliseconds(20), [&] {
      fired_ns = MonotonicNs();
      ++times;
      fired.set_value();
    });
  });
  fired.get_future().wait();
  RunOn(*conductor, [] {});
  EXPECT_GE(fired_ns - set_ns, 20'000'000);
  EXPECT_EQ(times, 1);
}

TEST(Conductor, ATimerMaySetAnotherOne) {
  auto conductor = NewConductor();
  ASSERT_TRUE(conductor->Start().ok());
  std::promise<void> fired;
  RunOn(*conductor, [&] {
    conductor->SetTimer(absl::ZeroDuration(), [&] {
      conductor->SetTimer(absl::Milliseconds(-5), [&] { fired.set_value(); });
    });
  });
  fired.get_future().wait();
}

TEST(Conductor, CancelledAndEndlessTimersNeverRunButOthersDo) {
  auto conductor = NewConductor();
  ASSERT_TRUE(conductor->Start().ok());
  std::atomic<int> wrong{0};
  std::promise<void> fired;
  RunOn(*conductor, [&] {
    uint64_t endless = conductor->SetTimer(absl::InfiniteDuration(), [&] { ++wrong; });
    uint64_t cancelled = conductor->SetTimer(absl::ZeroDuration(), [&] { ++wrong; });
    EXPECT_NE(endless, 0u);
    EXPECT_NE(cancelled, endless);
    conductor->CancelTimer(cancelled);
    conductor->CancelTimer(cancelled);
    conductor->CancelTimer(0);
    conductor->SetTimer(absl::Milliseconds(10), [&] { fired.set_value(); });
  });
  fired.get_future().wait();
  RunOn(*conductor, [] {});
  EXPECT_EQ(wrong, 0);
}

TEST(Conductor, TakesTheUpgradeSignalOnItsOwnThread) {
  WithSignalBlocked blocked;
  std::promise<std::thread::id> taken;
  auto conductor = NewConductor(kSignal, [&] { taken.set_value(std::this_thread::get_id()); });
  ASSERT_TRUE(conductor->Start().ok());
  std::thread::id own;
  RunOn(*conductor, [&] { own = std::this_thread::get_id(); });
  kill(getpid(), kSignal);
  EXPECT_EQ(taken.get_future().get(), own);
}

TEST(Conductor, ASignalThatIsNotToBeTakenStaysPending) {
  WithSignalBlocked blocked;
  std::promise<void> taken;
  std::atomic<int> times{0};
  auto conductor = NewConductor(kSignal, [&] {
    if (++times == 1) taken.set_value();
  });
  ASSERT_TRUE(conductor->Start().ok());
  RunOn(*conductor, [&] { conductor->set_take_signal(false); });
  for (int i = 0; i < 3; ++i) kill(getpid(), kSignal);
  // Two turns of its loop.
  RunOn(*conductor, [] {});
  RunOn(*conductor, [] {});
  EXPECT_EQ(times, 0);
  EXPECT_TRUE(WithSignalBlocked::Pending());
  RunOn(*conductor, [&] { conductor->set_take_signal(true); });
  taken.get_future().wait();
  RunOn(*conductor, [] {});
  EXPECT_EQ(times, 1) << "three that were pending are one";
  EXPECT_FALSE(WithSignalBlocked::Pending());
}

TEST(Conductor, TasksThatComeAfterStopAreDroppedAndTheirsIsFreed) {
  auto token = std::make_shared<int>(7);
  std::atomic<bool> ran{false};
  {
    auto conductor = NewConductor();
    ASSERT_TRUE(conductor->Start().ok());
    conductor->Stop();
    conductor->Stop();
    conductor->Post([&ran, token] { ran = true; });
    EXPECT_EQ(token.use_count(), 2);
  }
  EXPECT_FALSE(ran);
  EXPECT_EQ(token.use_count(), 1);
}

TEST(Conductor, LeavesNoFdOpen) {
  WithSignalBlocked blocked;
  auto before = OpenFiles();
  {
    auto conductor = NewConductor(kSignal, [] {});
    EXPECT_GT(OpenFiles().size(), before.size());
    ASSERT_TRUE(conductor->Start().ok());
    RunOn(*conductor, [] {});
  }
  EXPECT_EQ(OpenFiles(), before);
}

TEST(Conductor, NeedsNotBeStarted) { NewConductor(); }

}  // namespace
}  // namespace liveexec
