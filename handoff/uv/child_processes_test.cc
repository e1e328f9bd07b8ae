#include "handoff/uv/child_processes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using ::testing::AnyOf;
using testing::CarriedState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TestClient;
using testing::TestLoop;

class ChildProcessesTest : public ::testing::Test {
 protected:
  std::unique_ptr<ChildProcesses> Make() {
    return std::make_unique<ChildProcesses>("children", loop_.executor(),
                                            [this](const ChildExit& e) { exits_.push_back(e); });
  }

  SpawnedChild Spawn(ChildSpec spec) {
    auto child = children_->Spawn(spec);
    EXPECT_TRUE(child.ok()) << child.status();
    return child.ok() ? std::move(*child) : SpawnedChild{};
  }

  static ChildSpec Shell(std::string script, std::string tag = "") {
    return {.argv = {"/bin/sh", "-c", std::move(script)}, .tag = std::move(tag)};
  }

  // The whole output of a child that ends by itself.
  std::string OutputOf(ChildSpec spec) {
    spec.out = ChildStdio::kPipe;
    SpawnedChild child = Spawn(std::move(spec));
    TestClient out(std::move(child.out));
    loop_.RunUntil([&] { return out.Ended(); });
    const size_t before = exits_.size();
    loop_.RunUntil([&] { return exits_.size() > 0 || before > 0; });
    return out.received();
  }

  TestLoop loop_;
  std::vector<ChildExit> exits_;
  std::unique_ptr<ChildProcesses> children_ = Make();
};

TEST_F(ChildProcessesTest, ReportHowAChildEnded) {
  children_->Activate();
  const pid_t exits = Spawn(Shell("exit 7", "seven")).pid;
  const pid_t killed = Spawn(Shell("kill -KILL $$", "killed")).pid;
  loop_.RunUntil([&] { return exits_.size() == 2; });
  std::map<pid_t, ChildExit> by_pid;
  for (const ChildExit& one : exits_) by_pid[one.pid] = one;
  EXPECT_EQ(by_pid[exits].code, 7);
  EXPECT_EQ(by_pid[exits].signal, std::nullopt);
  EXPECT_EQ(by_pid[exits].tag, "seven");
  EXPECT_EQ(by_pid[killed].signal, SIGKILL);
  EXPECT_EQ(by_pid[killed].code, std::nullopt);
  EXPECT_THAT(children_->pids(), ElementsAre());
}

TEST_F(ChildProcessesTest, ReportAChildThatEndedDuringTheUpgrade) {
  children_->Activate();
  SpawnedChild child = Spawn(
      {.argv = {"/bin/sh", "-c", "read x; exit 42"}, .in = ChildStdio::kPipe, .tag = {"a\0b", 3}});
  ASSERT_TRUE(children_->Quiesce().ok());
  EXPECT_EQ(children_->Spawn(Shell("true")).status().code(), absl::StatusCode::kFailedPrecondition);
  auto state = CarriedState::Of(*children_);
  ASSERT_TRUE(state.ok()) << state.status();
  children_.reset();

  child.in.reset();  // it ends now
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOWAIT), 0);

  children_ = Make();
  ASSERT_TRUE(state->RehydrateInto(*children_).ok());
  EXPECT_THAT(children_->pids(), ElementsAre(child.pid));
  loop_.RunReady();
  EXPECT_TRUE(exits_.empty()) << "not before Activate";
  children_->Activate();
  loop_.RunUntil([&] { return exits_.size() == 1; });
  EXPECT_EQ(exits_[0].pid, child.pid);
  EXPECT_EQ(exits_[0].code, 42);
  EXPECT_EQ(exits_[0].tag, std::string("a\0b", 3));
  EXPECT_EQ(waitpid(child.pid, nullptr, WNOHANG), -1) << "a zombie was left";
}

TEST_F(ChildProcessesTest, WaitOnForAChildThatOutlivesTheUpgrade) {
  children_->Activate();
  SpawnedChild child =
      Spawn({.argv = {"/bin/sh", "-c", "read x; exit $x"}, .in = ChildStdio::kPipe});
  ASSERT_TRUE(children_->Quiesce().ok());
  auto state = CarriedState::Of(*children_);
  children_ = Make();
  ASSERT_TRUE(state->RehydrateInto(*children_).ok());
  EXPECT_EQ(state->fds_left(), 0u);
  children_->Activate();
  loop_.RunReady();
  EXPECT_TRUE(exits_.empty());
  TestClient(std::move(child.in)).Send("3\n");
  loop_.RunUntil([&] { return exits_.size() == 1; });
  EXPECT_EQ(exits_[0].code, 3);
}

TEST_F(ChildProcessesTest, SayThatAnExitIsUnknownWhenSomebodyElseTookIt) {
  children_->Activate();
  const pid_t pid = Spawn(Shell("exit 1")).pid;
  ASSERT_EQ(waitpid(pid, nullptr, 0), pid);
  loop_.RunUntil([&] { return exits_.size() == 1; });
  EXPECT_EQ(exits_[0].code, std::nullopt);
  EXPECT_EQ(exits_[0].signal, std::nullopt);
}

TEST_F(ChildProcessesTest, KillAChildByItsPidAsLongAsItIsNotReported) {
  children_->Activate();
  SpawnedChild child = Spawn({.argv = {"cat"}, .in = ChildStdio::kPipe});
  EXPECT_TRUE(children_->Kill(child.pid, SIGTERM).ok());
  loop_.RunUntil([&] { return exits_.size() == 1; });
  EXPECT_EQ(exits_[0].signal, SIGTERM);
  EXPECT_EQ(children_->Kill(child.pid, SIGTERM).code(), absl::StatusCode::kNotFound);
}

TEST_F(ChildProcessesTest, StartAChildWithStandardFdsOnlyWhateverWeHaveOpen) {
  children_->Activate();
  UniqueFd inheritable(dup(0));  // not CLOEXEC: another library's mistake
  EXPECT_EQ(OutputOf(Shell("for n in $(seq 0 200); do [ -e /proc/$$/fd/$n ] && echo -n $n,; done")),
            "0,1,2,");
}

TEST_F(ChildProcessesTest, StartAChildWithDefaultSignals) {
  children_->Activate();
  sigset_t usr1;
  sigset_t before;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, &before);
  signal(SIGUSR2, SIG_IGN);
  const std::string status = OutputOf({.argv = {"grep", "^Sig[BI]", "/proc/self/status"}});
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  signal(SIGUSR2, SIG_DFL);
  EXPECT_THAT(status, HasSubstr("SigBlk:\t0000000000000000"));
  // A C library may leave its own two, 32 and 33, ignored.
  EXPECT_THAT(status, AnyOf(HasSubstr("SigIgn:\t0000000180000000"),
                            HasSubstr("SigIgn:\t0000000000000000")));
}

TEST_F(ChildProcessesTest, GiveTheChildItsDirectoryAndEnvironment) {
  children_->Activate();
  ChildSpec spec = Shell("echo $PWD $NAME $HOME");
  spec.directory = "/usr";
  spec.environment = {{"NAME=value"}};
  EXPECT_EQ(OutputOf(spec), "/usr value\n");
}

TEST_F(ChildProcessesTest, WireAllThreeStandardFds) {
  children_->Activate();
  SpawnedChild child = Spawn({.argv = {"/bin/sh", "-c", "read x; echo out $x; echo err $x >&2"},
                              .in = ChildStdio::kPipe,
                              .out = ChildStdio::kPipe,
                              .err = ChildStdio::kPipe});
  TestClient in(std::move(child.in));
  TestClient out(std::move(child.out));
  TestClient err(std::move(child.err));
  in.Send("7\n");
  loop_.RunUntil([&] { return out.Ended() && err.Ended(); });
  EXPECT_EQ(out.received(), "out 7\n");
  EXPECT_EQ(err.received(), "err 7\n");
  EXPECT_EQ(OutputOf({.argv = {"cat"}}), "") << "stdin is /dev/null unless said otherwise";
}

TEST_F(ChildProcessesTest, SayWhyAChildCannotBeStarted) {
  EXPECT_EQ(ErrnoOf(children_->Spawn({.argv = {"/no/such/program"}}).status()), ENOENT);
  EXPECT_EQ(ErrnoOf(children_->Spawn({.argv = {"/etc/passwd"}}).status()), EACCES);
  EXPECT_EQ(children_->Spawn({}).status().code(), absl::StatusCode::kInvalidArgument);
  ChildSpec nowhere = Shell("true");
  nowhere.directory = "/no/such/directory";
  EXPECT_EQ(ErrnoOf(children_->Spawn(nowhere).status()), ENOENT);
  EXPECT_THAT(children_->pids(), ElementsAre());
}

TEST_F(ChildProcessesTest, RefuseToStartOneWhoseStatusTheKernelWouldThrowAway) {
  signal(SIGCHLD, SIG_IGN);
  EXPECT_EQ(children_->Spawn(Shell("true")).status().code(), absl::StatusCode::kFailedPrecondition);
  signal(SIGCHLD, SIG_DFL);
}

TEST_F(ChildProcessesTest, AreRefusedFromAnImageThatCannotBe) {
  children_->Activate();
  SpawnedChild child = Spawn({.argv = {"cat"}, .in = ChildStdio::kPipe});
  auto state = CarriedState::Of(*children_);
  auto first = Make();
  ASSERT_TRUE(state->RehydrateInto(*first).ok());
  auto second = Make();  // its fds are taken
  EXPECT_EQ(state->RehydrateInto(*second).code(), absl::StatusCode::kNotFound);
  child.in.reset();
  loop_.RunUntil([&] { return exits_.size() == 1; });
}

}  // namespace
}  // namespace liveexec::uv
