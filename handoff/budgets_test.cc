#include "handoff/budgets.h"

#include <gtest/gtest.h>

#include "core/fd_channel.h"
#include "core/syscalls.h"
#include "handoff/attempt.h"
#include "handoff/error_code.h"
#include "handoff/program.h"
#include "handoff/testing/thread_executor.h"

namespace liveexec {
namespace {

JournalEntry Entry(Outcome outcome, int64_t blackout_ns) {
  return {.outcome = outcome, .blackout_ns = blackout_ns};
}

TEST(ShortestRecentBlackoutTest, IsNothingBeforeTheFirstUpgrade) {
  Journal journal;
  EXPECT_EQ(ShortestRecentBlackoutNs(journal), 0);
  journal.Add(Entry(Outcome::kRolledBack, 7));
  EXPECT_EQ(ShortestRecentBlackoutNs(journal), 0);
}

TEST(ShortestRecentBlackoutTest, OneStallDoesNotCountAgainstTheUpgradesThatFollow) {
  Journal journal;
  journal.Add(Entry(Outcome::kCommitted, 5));
  journal.Add(Entry(Outcome::kCommitted, 11'000'000'000));
  EXPECT_EQ(ShortestRecentBlackoutNs(journal), 5);
}

TEST(ShortestRecentBlackoutTest, WhatLiesFurtherBackNoLongerCounts) {
  Journal journal;
  journal.Add(Entry(Outcome::kCommitted, 1));
  for (int i = 0; i < 5; ++i) {
    journal.Add(Entry(Outcome::kCommitted, 100 + i));
    journal.Add(Entry(Outcome::kAbandoned, 2));
  }
  EXPECT_EQ(ShortestRecentBlackoutNs(journal), 100);
}

// A kernel that grants less than is asked for.
class SmallBuffer : public Syscalls {
 public:
  int Getsockopt(int, int, int, void* value, socklen_t*) override {
    *static_cast<int*>(value) = 4608;  // what SO_SNDBUF cannot be less than
    return 0;
  }
};

struct ChannelBudgetTest : testing::Test {
  absl::Status Check(Syscalls& syscalls, size_t open) {
    Program program(syscalls, executor);
    attempt.open_fds.resize(open);
    attempt.channel = *CreateFdChannel(syscalls);
    return CheckChannelBudget(program, attempt);
  }
  ThreadExecutor executor;
  Attempt attempt;
};

// What is promised of a buffer is what it holds: it is filled up.
TEST_F(ChannelBudgetTest, KnowsHowManyMessagesTheBufferHolds) {
  Syscalls& kernel = Syscalls::Kernel();
  ASSERT_TRUE(Check(kernel, 1).ok());
  EXPECT_EQ(attempt.needs.messages, 2u);
  int fd = attempt.channel.sender.get();
  size_t sent = 0;
  while (SendFdBatch(kernel, fd, {&fd, 1}).ok()) ++sent;
  EXPECT_EQ(sent, attempt.needs.messages_allowed);
}

TEST_F(ChannelBudgetTest, RefusesWhatTheBufferDoesNotHold) {
  SmallBuffer kernel;
  EXPECT_TRUE(Check(kernel, 5 * kFdsPerBatch).ok());
  EXPECT_EQ(CodeOf(Check(kernel, 5 * kFdsPerBatch + 1)), "E_FDPUSH");
  EXPECT_EQ(attempt.needs.messages, 7u);
  EXPECT_EQ(attempt.needs.messages_allowed, 6u);
}

TEST(NeedsTest, SaysWhatIsNeededOfWhatThereIs) {
  Needs needs{.fds = 91, .fds_allowed = 1024, .messages = 2, .messages_allowed = 278};
  EXPECT_EQ(DescribeNeeds(needs), "needs 91 of 1024 fds, 2 of 278 messages of the fd channel");
  needs.memory = 34 << 20;
  needs.memory_available = uint64_t{15873} << 20;
  EXPECT_EQ(DescribeNeeds(needs),
            "needs 91 of 1024 fds, about 34 of 15873 MiB of memory, 2 of 278 messages of the fd "
            "channel");
}

}  // namespace
}  // namespace liveexec
