#include "handoff/parallel.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <string>
#include <vector>

namespace liveexec {
namespace {

TEST(RunInParallelTest, CallsEachOnceOnThreadsThatTakeNoSignals) {
  std::vector<std::atomic<int>> called(6);
  std::vector<pthread_t> threads(6);
  const absl::Status status = RunInParallel(6, [&](size_t i) {
    ++called[i];
    threads[i] = pthread_self();
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    const bool own_thread = i < 5;
    return own_thread && sigismember(&mask, SIGTERM) != 1
               ? absl::InternalError("a signal is not blocked")
               : absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  for (const auto& count : called) EXPECT_EQ(count, 1);
  EXPECT_TRUE(pthread_equal(threads[5], pthread_self()));
  EXPECT_FALSE(pthread_equal(threads[0], pthread_self()));
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGTERM), 0);
}

TEST(RunInParallelTest, ReturnsTheFirstErrorAndWaitsForAll) {
  std::atomic<int> called{0};
  const absl::Status status = RunInParallel(4, [&](size_t i) {
    ++called;
    return i == 0 ? absl::OkStatus() : absl::DataLossError(std::to_string(i));
  });
  EXPECT_EQ(status.message(), "1");
  EXPECT_EQ(called, 4);
}

TEST(RunInParallelTest, OneIsDoneOnTheCallingThread) {
  const pthread_t self = pthread_self();
  EXPECT_TRUE(RunInParallel(1, [&](size_t) {
                return pthread_equal(self, pthread_self()) != 0 ? absl::OkStatus()
                                                                : absl::InternalError("elsewhere");
              }).ok());
}

}  // namespace
}  // namespace liveexec
