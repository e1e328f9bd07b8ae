#include "handoff/uv/timers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using ::testing::ElementsAre;
using testing::TestLoop;

class TimersTest : public ::testing::Test {
 protected:
  std::unique_ptr<Timers> Make() {
    auto timers = std::make_unique<Timers>("timers", loop_.executor());
    timers->Define("t", [this](uint64_t number) { fired_.push_back(number); });
    return timers;
  }

  // The new program, before Activate.
  void Rehydrate() {
    ASSERT_TRUE(timers_->Quiesce().ok());
    auto state = CarriedState::Of(*timers_);
    ASSERT_TRUE(state.ok()) << state.status();
    timers_ = Make();
    const absl::Status status = state->RehydrateInto(*timers_);
    ASSERT_TRUE(status.ok()) << status;
  }

  static void WaitUntil(absl::Time time) {
    while (absl::Now() < time) absl::SleepFor(time - absl::Now());
  }

  TestLoop loop_;
  std::vector<uint64_t> fired_;
  std::unique_ptr<Timers> timers_ = Make();
};

TEST_F(TimersTest, FireInTheOrderOfTheirDeadlinesAndNotEarly) {
  timers_->Activate();
  const absl::Time start = absl::Now();
  ASSERT_TRUE(timers_->Start("t", 3, absl::Milliseconds(30)).ok());
  ASSERT_TRUE(timers_->Start("t", 1, absl::Milliseconds(10)).ok());
  ASSERT_TRUE(timers_->Start("t", 2, absl::Milliseconds(20)).ok());
  ASSERT_TRUE(timers_->Start("t", 0, -absl::Seconds(1)).ok());
  EXPECT_THAT(fired_, ElementsAre());
  loop_.RunUntil([&] { return fired_.size() == 4; });
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(30));
  EXPECT_THAT(fired_, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(timers_->size(), 0u);
}

TEST_F(TimersTest, StopAndStartAnew) {
  timers_->Activate();
  ASSERT_TRUE(timers_->Start("t", 1, absl::Milliseconds(1)).ok());
  ASSERT_TRUE(timers_->Start("t", 2, absl::Milliseconds(2)).ok());
  ASSERT_TRUE(timers_->Start("t", 1, absl::Hours(1)).ok());
  ASSERT_TRUE(timers_->Stop("t", 3).ok());
  loop_.RunUntil([&] { return !fired_.empty(); });
  EXPECT_THAT(fired_, ElementsAre(2));
  EXPECT_GT(*timers_->Remaining("t", 1), absl::Minutes(59));
  ASSERT_TRUE(timers_->Stop("t", 1).ok());
  EXPECT_FALSE(timers_->Remaining("t", 1).has_value());
}

TEST_F(TimersTest, RefuseANameThatIsNotDefined) {
  EXPECT_EQ(timers_->Start("x", 0, absl::Seconds(1)).code(), absl::StatusCode::kNotFound);
}

TEST_F(TimersTest, MayBeStoppedByTheirOwnCallbacks) {
  timers_->Define("self", [&](uint64_t) {
    fired_.push_back(9);
    if (fired_.size() == 3) timers_->Stop("self", 0).IgnoreError();
  });
  timers_->Activate();
  ASSERT_TRUE(timers_->Start("self", 0, absl::Milliseconds(1), absl::Milliseconds(1)).ok());
  loop_.RunUntil([&] { return timers_->size() == 0; });
  EXPECT_EQ(fired_.size(), 3u);
}

TEST_F(TimersTest, KeepTheirDeadlineAcrossAnUpgrade) {
  timers_->Activate();
  const absl::Time start = absl::Now();
  ASSERT_TRUE(timers_->Start("t", 7, absl::Milliseconds(80)).ok());
  WaitUntil(start + absl::Milliseconds(40));
  Rehydrate();
  timers_->Activate();
  EXPECT_LE(*timers_->Remaining("t", 7), absl::Milliseconds(40)) << "it was restarted";
  loop_.RunUntil([&] { return !fired_.empty(); });
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(80));
}

TEST_F(TimersTest, FireOnceAtOnceIfTheyCameDueDuringTheUpgrade) {
  timers_->Activate();
  ASSERT_TRUE(timers_->Start("t", 1, absl::Milliseconds(5)).ok());
  ASSERT_TRUE(timers_->Start("t", 2, absl::Milliseconds(5), absl::Milliseconds(10'000)).ok());
  ASSERT_TRUE(timers_->Start("t", 3, absl::Milliseconds(5), absl::Microseconds(10)).ok());
  Rehydrate();
  WaitUntil(absl::Now() + absl::Milliseconds(20));
  EXPECT_THAT(fired_, ElementsAre());
  timers_->Activate();
  EXPECT_THAT(fired_, ElementsAre()) << "not before the loop runs";
  loop_.RunReady();
  loop_.RunUntil([&] { return fired_.size() >= 3; });
  EXPECT_THAT(std::vector<uint64_t>(fired_.begin(), fired_.begin() + 3), ElementsAre(1, 2, 3));
  // The 1,500 periods that passed are skipped.
  EXPECT_LT(fired_.size(), 100u);
  EXPECT_GT(*timers_->Remaining("t", 2), absl::Seconds(9));
  EXPECT_FALSE(timers_->Remaining("t", 1).has_value());
}

TEST_F(TimersTest, KeepTheBeatOfARepeatingOne) {
  timers_->Activate();
  const absl::Time start = absl::Now();
  ASSERT_TRUE(timers_->Start("t", 1, absl::Milliseconds(50), absl::Milliseconds(50)).ok());
  WaitUntil(start + absl::Milliseconds(70));
  Rehydrate();
  timers_->Activate();
  loop_.RunUntil([&] { return fired_.size() == 2; });
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(100));
  // The next one is still at a multiple of 50 ms from the start.
  const absl::Duration next = absl::Now() + *timers_->Remaining("t", 1) - start;
  const int64_t off = absl::ToInt64Microseconds(next) % 50'000;
  EXPECT_LT(std::min(off, 50'000 - off), 5'000) << "microseconds off the beat";
}

TEST_F(TimersTest, RefuseUseWhileQuiescedAndGoOnAfterwards) {
  timers_->Activate();
  ASSERT_TRUE(timers_->Start("t", 1, absl::Milliseconds(1)).ok());
  ASSERT_TRUE(timers_->Quiesce().ok());
  EXPECT_EQ(timers_->Start("t", 2, absl::ZeroDuration()).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(timers_->Stop("t", 1).code(), absl::StatusCode::kFailedPrecondition);
  timers_->Resume();
  loop_.RunUntil([&] { return !fired_.empty(); });
  EXPECT_THAT(fired_, ElementsAre(1));
}

TEST_F(TimersTest, AreRefusedByAProgramThatDoesNotDefineThem) {
  timers_->Define("old", [](uint64_t) {});
  ASSERT_TRUE(timers_->Start("old", 0, absl::Hours(1)).ok());
  auto state = CarriedState::Of(*timers_);
  auto next = Make();
  EXPECT_EQ(state->RehydrateInto(*next).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace liveexec::uv
