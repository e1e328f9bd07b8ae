#include "handoff/parking.h"

#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <future>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "handoff/testing/thread_executor.h"

namespace liveexec {
namespace {

constexpr auto kForExec = Parking::For::kExec;
constexpr auto kForSnapshot = Parking::For::kSnapshot;
// Long enough that only a hang would reach it.
constexpr absl::Duration kLong = absl::Seconds(60);

class ParkingTest : public ::testing::Test {
 protected:
  ParkingTest() {
    for (ThreadExecutor& executor : executors_) parking_.Add(executor);
  }

  // Whether every executor runs what it is asked to: returns only when they do.
  void ExpectAllRun() {
    for (ThreadExecutor& executor : executors_) executor.Run([] {});
  }

  std::array<ThreadExecutor, 4> executors_;
  Parking parking_;
};

// "ffff..." as /proc shows it, of a thread of this process.
std::string BlockedSignals(pid_t thread) {
  std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("SigBlk:", 0) == 0) return line.substr(line.find_last_of("\t ") + 1);
  }
  return "";
}

TEST_F(ParkingTest, EveryThreadIsToldBeforeItStandsStill) {
  for (Parking::For purpose : {kForExec, kForSnapshot}) {
    ASSERT_TRUE(parking_.Park(purpose, kLong).ok());
    for (ThreadExecutor& executor : executors_) {
      EXPECT_EQ(executor.standstills(), purpose == kForExec ? 1 : 2);
    }
    parking_.Release();
  }
}

TEST_F(ParkingTest, NothingRunsBetweenParkAndRelease) {
  std::array<pid_t, 4> threads;
  for (size_t i = 0; i < 4; ++i) {
    executors_[i].Run([&threads, i] { threads[i] = static_cast<pid_t>(syscall(SYS_gettid)); });
  }
  for (int round = 0; round < 50; ++round) {
    std::atomic<bool> released{false};
    std::atomic<int> ran{0}, too_early{0};
    ASSERT_TRUE(parking_.Park(kForExec, kLong).ok());
    for (ThreadExecutor& executor : executors_) {
      executor.Post([&] {
        if (!released) ++too_early;
        ++ran;
      });
    }
    for (pid_t thread : threads) {
      // All signals but SIGKILL (9) and SIGSTOP (19), and the two that libc keeps for itself.
      EXPECT_EQ(BlockedSignals(thread), "fffffffe7ffbfeff") << "no signal handler may run there";
    }
    released = true;
    parking_.Release();
    ExpectAllRun();
    EXPECT_EQ(ran, 4);
    EXPECT_EQ(too_early, 0);
  }
  EXPECT_NE(BlockedSignals(threads[0]), "fffffffe7ffbfeff") << "the mask is as it was before";
}

TEST_F(ParkingTest, ReleaseWithoutParkIsHarmless) {
  parking_.Release();
  ASSERT_TRUE(parking_.Park(kForExec, kLong).ok());
  parking_.Release();
  parking_.Release();
  ExpectAllRun();
}

TEST_F(ParkingTest, WithoutThreadsItSucceedsAtOnce) {
  Parking nobody;
  EXPECT_TRUE(nobody.Park(kForExec, absl::ZeroDuration()).ok());
  nobody.Release();
}

TEST_F(ParkingTest, ADeadlineWithoutEndIsNotOneThatHasPassed) {
  ASSERT_TRUE(parking_.Park(kForExec, absl::InfiniteDuration()).ok());
  parking_.Release();
  ExpectAllRun();
}

TEST_F(ParkingTest, AThreadWithOperationsInFlightMakesItUnavailableAndNothingStaysParked) {
  executors_[2].set_operations_in_flight(1);
  absl::Status status = parking_.Park(kForExec, kLong);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  ExpectAllRun();
  // A look at the state may be had all the same.
  ASSERT_TRUE(parking_.Park(kForSnapshot, kLong).ok());
  parking_.Release();
  executors_[2].set_operations_in_flight(0);
  ASSERT_TRUE(parking_.Park(kForExec, kLong).ok());
  parking_.Release();
}

TEST_F(ParkingTest, AStuckThreadMakesItTooLateAndNothingStaysParked) {
  std::promise<void> stuck, go_on;
  executors_[1].Post([&] {
    stuck.set_value();
    go_on.get_future().wait();
  });
  stuck.get_future().wait();
  absl::Status status = parking_.Park(kForExec, absl::Milliseconds(20));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  for (size_t i : {0, 2, 3}) executors_[i].Run([] {});
  go_on.set_value();
  ExpectAllRun();  // The late one does not park any more.
  ASSERT_TRUE(parking_.Park(kForExec, kLong).ok());
  parking_.Release();
}

TEST_F(ParkingTest, AnExecutorThatStandsStillByItselfIsNotWaitedFor) {
  std::promise<void> stands, go_on;
  executors_[3].Post([&] {
    stands.set_value();
    go_on.get_future().wait();
  });
  stands.get_future().wait();
  EXPECT_TRUE(parking_.Park(kForExec, kLong, &executors_[3]).ok());
  parking_.Release();
  go_on.set_value();
  ExpectAllRun();
}

TEST_F(ParkingTest, RemoveWaitsUntilTheThreadIsNotParked) {
  ASSERT_TRUE(parking_.Park(kForExec, kLong).ok());
  std::atomic<bool> released{false};
  std::atomic<bool> removed_too_early{false};
  std::promise<void> about_to_remove;
  std::thread remover([&] {
    about_to_remove.set_value();
    parking_.Remove(executors_[0]);
    removed_too_early = !released;
  });
  about_to_remove.get_future().wait();
  released = true;
  parking_.Release();
  remover.join();
  EXPECT_FALSE(removed_too_early);
  EXPECT_EQ(parking_.size(), 3u);
}

TEST_F(ParkingTest, WhatWasRemovedIsNotParked) {
  parking_.Remove(executors_[0]);
  ASSERT_TRUE(parking_.Park(kForExec, kLong).ok());
  executors_[0].Run([] {});
  parking_.Release();
  parking_.Remove(executors_[0]);  // Not there any more: harmless.
}

TEST_F(ParkingTest, ThreadsComeAndGoWhileOthersArePartOfParkings) {
  std::atomic<bool> stop{false};
  std::thread changing([&] {
    while (!stop) {
      ThreadExecutor passing;
      parking_.Add(passing);
      passing.Run([] {});
      parking_.Remove(passing);
    }
  });
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(parking_.Park(kForExec, kLong).ok());
    parking_.Release();
  }
  stop = true;
  changing.join();
}

TEST_F(ParkingTest, DrainingWaitsForOperationsInFlightWhileTheLoopsGoOn) {
  ThreadExecutor main;
  auto ticket = std::make_shared<BlackoutTicket>();
  executors_[1].set_operations_in_flight(2);
  std::promise<std::thread::id> drained;
  std::atomic<bool> ended{false}, too_early{false};
  parking_.WhenDrained(main, ticket, [&] {
    too_early = !ended;
    drained.set_value(std::this_thread::get_id());
  });
  // It looks again in later turns of the loop, which runs other tasks meanwhile.
  while (executors_[1].times_asked() < 5) executors_[1].Run([] {});
  ExpectAllRun();
  ended = true;
  executors_[1].set_operations_in_flight(0);
  EXPECT_EQ(drained.get_future().get(), main.id());
  EXPECT_FALSE(too_early);
}

TEST_F(ParkingTest, DrainingWaitsForTheMainThreadsOwnOperationsToo) {
  ThreadExecutor main;
  main.set_operations_in_flight(1);
  std::atomic<bool> ended{false}, too_early{false};
  std::promise<void> drained;
  parking_.WhenDrained(main, std::make_shared<BlackoutTicket>(), [&] {
    too_early = !ended;
    drained.set_value();
  });
  while (main.times_asked() < 3) main.Run([] {});
  ended = true;
  main.set_operations_in_flight(0);
  drained.get_future().wait();
  EXPECT_FALSE(too_early);
}

TEST_F(ParkingTest, ACancelledTicketNeverRuns) {
  ThreadExecutor main;
  auto ticket = std::make_shared<BlackoutTicket>();
  std::atomic<bool> ran{false};
  executors_[0].set_operations_in_flight(1);
  parking_.WhenDrained(main, ticket, [&] { ran = true; });
  while (executors_[0].times_asked() < 2) executors_[0].Run([] {});
  EXPECT_TRUE(ticket->Cancel());
  executors_[0].set_operations_in_flight(0);
  for (ThreadExecutor& executor : executors_) executor.Settle();
  main.Settle();
  EXPECT_FALSE(ran);
}

TEST(BlackoutTicket, IsClaimedOrCancelledButNeverBoth) {
  for (int round = 0; round < 1000; ++round) {
    BlackoutTicket ticket;
    std::atomic<bool> go{false}, cancelled{false};
    std::thread canceller([&] {
      while (!go) continue;
      cancelled = ticket.Cancel();
    });
    go = true;
    bool claimed = ticket.Claim();
    canceller.join();
    ASSERT_NE(claimed, cancelled.load());
    ASSERT_EQ(ticket.cancelled(), cancelled.load());
  }
}

TEST(BlackoutTicket, MayBeCancelledAgainAfterABlackoutThatIsToBeTriedAgain) {
  BlackoutTicket ticket;
  ASSERT_TRUE(ticket.Claim());
  EXPECT_FALSE(ticket.Claim());
  EXPECT_FALSE(ticket.Cancel());
  ticket.Unclaim();
  EXPECT_TRUE(ticket.Cancel());
  EXPECT_FALSE(ticket.Claim());
  EXPECT_TRUE(ticket.cancelled());
}

TEST(BlackoutTicket, IsNotClaimedAgainOnceWhatFollowsWasCancelled) {
  BlackoutTicket ticket;
  ASSERT_TRUE(ticket.Claim());
  EXPECT_FALSE(ticket.CancelWhatFollows());
  EXPECT_FALSE(ticket.CancelWhatFollows()) << "nor the second time";
  EXPECT_FALSE(ticket.cancelled()) << "the one under way may yet succeed";
  EXPECT_FALSE(ticket.Unclaim());
  EXPECT_TRUE(ticket.cancelled());
  EXPECT_FALSE(ticket.Claim());
  EXPECT_FALSE(ticket.CancelWhatFollows());
  BlackoutTicket waiting;
  EXPECT_TRUE(waiting.CancelWhatFollows());
  EXPECT_TRUE(waiting.cancelled());
}

// Whoever cancels abandons the upgrade if he was told that it had not begun; else whoever claimed
// it does, when it ends without success.
TEST(BlackoutTicket, IsGivenUpByExactlyOneAlsoWhileItIsTriedAgainAndAgain) {
  for (int round = 0; round < 100; ++round) {
    BlackoutTicket ticket;
    std::atomic<bool> go{false};
    std::atomic<int> given_up{0};
    std::thread canceller([&] {
      while (!go) continue;
      if (ticket.CancelWhatFollows()) ++given_up;
    });
    go = true;
    while (ticket.Claim()) {
      if (ticket.Unclaim()) continue;
      ++given_up;
      break;
    }
    canceller.join();
    ASSERT_EQ(given_up, 1);
    ASSERT_TRUE(ticket.cancelled());
  }
}

}  // namespace
}  // namespace liveexec
