// The conductor as the guest of an executor, and on its way from there to its own thread and back.
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/testing/open_files.h"
#include "core/unique_fd.h"
#include "gtest/gtest.h"
#include "handoff/conductor.h"
#include "handoff/parking.h"
#include "handoff/phase.h"
#include "handoff/testing/no_threads.h"

namespace liveexec {
namespace {

// An event loop that the test turns by hand, on its own thread.
class HandLoop : public Executor {
 public:
  void Post(absl::AnyInvocable<void() &&> task) override {
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    eventfd_write(wake_.get(), 1);
  }
  bool Watch(int fd, std::function<void()> on_readable) override {
    if (refuse_) return false;
    watched_ = fd;
    on_readable_ = std::move(on_readable);
    return true;
  }
  void Unwatch() override { watched_ = -1; }

  void set_refuse(bool refuse) { refuse_ = refuse; }
  bool has_guest() const { return watched_ >= 0; }
  int guest_turns() const { return guest_turns_; }

  // Waits for something to do, `timeout_ms` at most (-1: for ever), and does it.
  void Turn(int timeout_ms = -1) {
    pollfd fds[] = {{wake_.get(), POLLIN, 0}, {watched_, POLLIN, 0}};
    poll(fds, 2, timeout_ms);
    if (fds[1].revents != 0 && watched_ == fds[1].fd) {
      ++guest_turns_;
      on_readable_();
    }
    if (fds[0].revents == 0) return;
    eventfd_t count;
    eventfd_read(wake_.get(), &count);
    std::vector<absl::AnyInvocable<void() &&>> tasks;
    {
      std::lock_guard lock(mutex_);
      tasks.swap(tasks_);
    }
    for (auto& task : tasks) std::move(task)();
  }
  void TurnUntil(const std::function<bool()>& done) {
    while (!done()) Turn();
  }

 private:
  bool refuse_ = false;
  UniqueFd wake_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  int watched_ = -1;
  int guest_turns_ = 0;
  std::function<void()> on_readable_;
  std::mutex mutex_;
  std::vector<absl::AnyInvocable<void() &&>> tasks_;
};

class ConductorGuestTest : public ::testing::Test {
 protected:
  ConductorGuestTest() { Make({}); }

  void Make(Conductor::Options options) {
    options.host = &host_;
    options.parking = &parking_;
    auto conductor = Conductor::Create(std::move(options));
    ASSERT_TRUE(conductor.ok()) << conductor.status();
    conductor_ = *std::move(conductor);
  }

  // Has it move to its own thread, and waits until it is there.
  void SendAway() {
    conductor_->Post([this] { conductor_->set_needs_thread(true); });
    host_.TurnUntil([&] { return !host_.has_guest(); });
  }
  void CallBack() {
    conductor_->Post([this] { conductor_->set_needs_thread(false); });
    host_.TurnUntil([&] { return host_.has_guest(); });
  }
  // Runs `task` in the conductor, which is on its thread.
  void RunThere(absl::AnyInvocable<void() &&> task) {
    std::promise<void> done;
    conductor_->Post([&] {
      std::move(task)();
      done.set_value();
    });
    done.get_future().wait();
  }

  HandLoop host_;
  Parking parking_;
  std::unique_ptr<Conductor> conductor_;
  const std::thread::id own_ = std::this_thread::get_id();
};

TEST_F(ConductorGuestTest, RunsTasksOnTheHostsThreadOfWhicheverThreadTheyCome) {
  std::vector<int> order;
  conductor_->Post([&] { order.push_back(1); });
  ASSERT_TRUE(conductor_->Start().ok());
  conductor_->Post([&] { order.push_back(2); });
  std::thread([&] { conductor_->Post([&] { order.push_back(3); }); }).join();
  std::thread::id where;
  conductor_->Post([&] {
    where = std::this_thread::get_id();
    EXPECT_FALSE(conductor_->on_own_thread());
  });
  EXPECT_EQ(order, std::vector<int>()) << "not before the host has a turn";
  host_.TurnUntil([&] { return where != std::thread::id(); });
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(where, own_);
  EXPECT_EQ(parking_.size(), 0u) << "there is no thread to park";
}

TEST_F(ConductorGuestTest, LeavesTheHostInPeaceWhileThereIsNothingToDo) {
  ASSERT_TRUE(conductor_->Start().ok());
  bool ran = false;
  conductor_->Post([&] { ran = true; });
  host_.TurnUntil([&] { return ran; });
  const int turns = host_.guest_turns();
  for (int i = 0; i < 3; ++i) host_.Turn(0);
  EXPECT_EQ(host_.guest_turns(), turns);
}

TEST_F(ConductorGuestTest, ItsTimersWakeTheHost) {
  ASSERT_TRUE(conductor_->Start().ok());
  const int64_t set_ns = MonotonicNs();
  int64_t fired_ns = 0;
  int cancelled = 0;
  conductor_->Post([&] {
    conductor_->CancelTimer(conductor_->SetTimer(absl::ZeroDuration(), [&] { ++cancelled; }));
    conductor_->SetTimer(absl::InfiniteDuration(), [&] { ++cancelled; });
    conductor_->SetTimer(absl::Milliseconds(20), [&] {
      conductor_->SetTimer(absl::ZeroDuration(), [&] { fired_ns = MonotonicNs(); });
    });
  });
  host_.TurnUntil([&] { return fired_ns != 0; });
  EXPECT_GE(fired_ns - set_ns, 20'000'000);
  EXPECT_EQ(cancelled, 0);
}

TEST_F(ConductorGuestTest, MovesToAThreadOfItsOwnWhichIsParkedAndBack) {
  ASSERT_TRUE(conductor_->Start().ok());
  for (int i = 0; i < 20; ++i) {
    SendAway();
    EXPECT_EQ(parking_.size(), 1u);
    std::thread::id there;
    RunThere([&] {
      there = std::this_thread::get_id();
      EXPECT_TRUE(conductor_->on_own_thread());
    });
    EXPECT_NE(there, own_);
    ASSERT_TRUE(parking_.Park(Parking::For::kExec, absl::Seconds(60)).ok());
    parking_.Release();
    CallBack();
    EXPECT_EQ(parking_.size(), 0u);
  }
}

TEST_F(ConductorGuestTest, TasksAndTimersMoveWithIt) {
  ASSERT_TRUE(conductor_->Start().ok());
  std::vector<int> order;
  std::promise<void> fired;
  conductor_->Post([&] {
    conductor_->set_needs_thread(true);
    conductor_->SetTimer(absl::Milliseconds(10), [&] { fired.set_value(); });
    for (int i = 0; i < 100; ++i) conductor_->Post([&, i] { order.push_back(i); });
  });
  host_.TurnUntil([&] { return !host_.has_guest(); });
  fired.get_future().wait();
  RunThere([&] { conductor_->set_needs_thread(false); });
  bool ran = false;
  conductor_->Post([&] {
    for (int i = 100; i < 200; ++i) order.push_back(i);
    ran = true;
  });
  host_.TurnUntil([&] { return ran; });
  ASSERT_EQ(order.size(), 200u);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST_F(ConductorGuestTest, HasOneTurnOnItsThreadAndComesBack) {
  ASSERT_TRUE(conductor_->Start().ok());
  bool on_thread = false, back = false;
  conductor_->Post([&] {
    conductor_->TakeNextTurnOnThread();
    conductor_->Post([&] { on_thread = conductor_->on_own_thread(); });
  });
  host_.TurnUntil([&] { return !host_.has_guest(); });
  host_.TurnUntil([&] { return host_.has_guest(); });
  EXPECT_TRUE(on_thread);
  conductor_->Post([&] { back = !conductor_->on_own_thread(); });
  host_.TurnUntil([&] { return back; });
}

TEST_F(ConductorGuestTest, StaysOnItsThreadWhenTheHostWillNotHaveItBackUntilItIsNextAsked) {
  ASSERT_TRUE(conductor_->Start().ok());
  SendAway();
  host_.set_refuse(true);
  RunThere([&] { conductor_->set_needs_thread(false); });
  host_.Turn();  // The host learns of its wish, and refuses.
  bool there = false;
  RunThere([&] { there = conductor_->on_own_thread(); });
  EXPECT_TRUE(there);
  EXPECT_EQ(parking_.size(), 1u);
  host_.set_refuse(false);
  CallBack();
}

TEST_F(ConductorGuestTest, StaysWithTheHostWhileThereIsNoThreadForIt) {
  ASSERT_TRUE(conductor_->Start().ok());
  {
    NoThreads none;
    bool one_more = true;
    conductor_->Post([&] {
      conductor_->set_needs_thread(true);
      conductor_->Post([&] { one_more = conductor_->TakeNextTurnOnThread(); });
    });
    host_.TurnUntil([&] { return !one_more; });
    EXPECT_TRUE(host_.has_guest());
    EXPECT_EQ(parking_.size(), 0u);
  }
  SendAway();
  RunThere([&] { EXPECT_TRUE(conductor_->on_own_thread()); });
  {
    // On its way back there are no fds, and then no thread either: it comes when there are.
    NoThreads none;
    host_.set_refuse(true);
    RunThere([&] { conductor_->set_needs_thread(false); });
    for (int i = 0; i < 3; ++i) host_.Turn();
    EXPECT_EQ(parking_.size(), 0u);
    host_.set_refuse(false);
    host_.TurnUntil([&] { return host_.has_guest(); });
  }
}

TEST_F(ConductorGuestTest, AHostThatCannotWatchLeavesItOnAThread) {
  host_.set_refuse(true);
  ASSERT_TRUE(conductor_->Start().ok());
  EXPECT_EQ(parking_.size(), 1u);
  RunThere([&] { conductor_->set_needs_thread(true); });
  RunThere([&] { conductor_->set_needs_thread(false); });
  RunThere([] {});
  EXPECT_EQ(parking_.size(), 1u);
}

TEST_F(ConductorGuestTest, TakesTheUpgradeSignalOnTheHostsThreadAndMayLeaveForIt) {
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  int taken = 0;
  Make({.upgrade_signal = SIGUSR1, .on_signal = [&] {
          ++taken;
          conductor_->set_take_signal(false);
          conductor_->set_needs_thread(true);
        }});
  ASSERT_TRUE(conductor_->Start().ok());
  kill(getpid(), SIGUSR1);
  host_.TurnUntil([&] { return !host_.has_guest(); });
  EXPECT_EQ(taken, 1);
  kill(getpid(), SIGUSR1);  // Stays pending until it is wanted again, in whichever place.
  RunThere([&] {
    conductor_->set_needs_thread(false);
    conductor_->set_take_signal(true);
  });
  host_.TurnUntil([&] { return taken == 2; });
  conductor_.reset();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(ConductorGuestTest, MayBeStoppedInEachPlaceAndOnItsWay) {
  conductor_.reset();
  auto before = OpenFiles();
  Make({});
  ASSERT_TRUE(conductor_->Start().ok());
  conductor_.reset();
  EXPECT_FALSE(host_.has_guest());
  Make({});
  ASSERT_TRUE(conductor_->Start().ok());
  SendAway();
  conductor_.reset();
  Make({});
  ASSERT_TRUE(conductor_->Start().ok());
  SendAway();
  RunThere([&] { conductor_->set_needs_thread(false); });
  conductor_.reset();  // Before the host has let it in again.
  host_.Turn(0);
  EXPECT_FALSE(host_.has_guest());
  EXPECT_EQ(parking_.size(), 0u);
  EXPECT_EQ(OpenFiles(), before);
}

}  // namespace
}  // namespace liveexec
