#include "handoff/uv/signal_watchers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "handoff/signal_mask.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using ::testing::ElementsAre;
using testing::TestLoop;

class SignalWatchersTest : public ::testing::Test {
 protected:
  std::unique_ptr<SignalWatchers> Make() {
    auto signals = std::make_unique<SignalWatchers>("signals", loop_.executor());
    for (int signo : {SIGTERM, SIGUSR1, SIGRTMIN + 1}) {
      const absl::Status status = signals->Watch(signo, [this](const signalfd_siginfo& info) {
        seen_.push_back(static_cast<int>(info.ssi_signo));
        senders_.push_back(static_cast<pid_t>(info.ssi_pid));
      });
      EXPECT_TRUE(status.ok()) << status;
    }
    return signals;
  }

  TestLoop loop_;
  std::vector<int> seen_;
  std::vector<pid_t> senders_;
  std::unique_ptr<SignalWatchers> signals_ = Make();
};

TEST_F(SignalWatchersTest, TellTheLoopOfASignal) {
  signals_->Activate();
  kill(getpid(), SIGTERM);
  loop_.RunUntil([&] { return !seen_.empty(); });
  EXPECT_THAT(seen_, ElementsAre(SIGTERM));
  EXPECT_THAT(senders_, ElementsAre(getpid()));
}

TEST_F(SignalWatchersTest, LoseNoneThatComesDuringAnUpgrade) {
  signals_->Activate();
  loop_.RunReady();
  auto state = CarriedState::Of(*signals_);
  ASSERT_TRUE(state.ok());
  kill(getpid(), SIGUSR1);
  for (int i = 0; i < 5; ++i) kill(getpid(), SIGRTMIN + 1);
  signals_.reset();  // blocked still: SIGUSR1 does not end the process
  signals_ = Make();
  ASSERT_TRUE(state->RehydrateInto(*signals_).ok());
  loop_.RunReady();
  EXPECT_THAT(seen_, ElementsAre());
  signals_->Activate();
  loop_.RunUntil([&] { return seen_.size() == 6; });
  EXPECT_EQ(std::count(seen_.begin(), seen_.end(), SIGUSR1), 1);
  EXPECT_EQ(std::count(seen_.begin(), seen_.end(), SIGRTMIN + 1), 5);
}

// What a callback does may end this program (an upgrade, uv_stop): the next signals are the
// kernel's.
TEST_F(SignalWatchersTest, TakeOneSignalAtATimeOutOfTheKernel) {
  int calls = 0;
  sigset_t pending;
  ASSERT_TRUE(signals_
                  ->Watch(SIGUSR1,
                          [&](const signalfd_siginfo&) {
                            ++calls;
                            sigpending(&pending);
                          })
                  .ok());
  signals_->Activate();
  kill(getpid(), SIGUSR1);
  kill(getpid(), SIGRTMIN + 1);
  loop_.RunUntil([&] { return calls == 1; });
  EXPECT_TRUE(sigismember(&pending, SIGRTMIN + 1));
  loop_.RunUntil([&] { return seen_.size() == 1; });
}

TEST_F(SignalWatchersTest, WatchOneMoreWhileServing) {
  signals_->Activate();
  bool got = false;
  ASSERT_TRUE(signals_->Watch(SIGUSR2, [&](const signalfd_siginfo&) { got = true; }).ok());
  kill(getpid(), SIGUSR2);
  loop_.RunUntil([&] { return got; });
}

TEST_F(SignalWatchersTest, RefuseWhatCannotBeWatched) {
  for (int signo : {SIGKILL, SIGSTOP, SIGSEGV, 0, -1, 32, 65}) {
    EXPECT_EQ(signals_->Watch(signo, nullptr).code(), absl::StatusCode::kInvalidArgument) << signo;
  }
}

TEST_F(SignalWatchersTest, TellTheFrameworkWhatMustStayBlocked) {
  const sigset_t kept = SignalsKeptBlocked();
  EXPECT_TRUE(sigismember(&kept, SIGTERM));
  EXPECT_TRUE(sigismember(&kept, SIGRTMIN + 1));
  EXPECT_FALSE(sigismember(&kept, SIGINT));
  KeepSignalBlocked(0);
  KeepSignalBlocked(1000);
}

}  // namespace
}  // namespace liveexec::uv
