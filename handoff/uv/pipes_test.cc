#include "handoff/uv/pipes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/scripted_handler.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using testing::EchoLines;
using testing::Script;
using testing::ScriptedHandler;
using testing::TestClient;
using testing::TestLoop;

struct PipeEnds {
  UniqueFd read;
  UniqueFd write;
};

PipeEnds MakePipe() {
  int fds[2];
  EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::string Numbered(size_t size) {
  std::string bytes;
  for (uint64_t i = 0; bytes.size() < size; ++i) bytes += std::to_string(i) + ",";
  bytes.resize(size);
  return bytes;
}

class PipesTest : public ::testing::Test {
 protected:
  std::unique_ptr<Pipes> Make(Script script) {
    return std::make_unique<Pipes>("pipes", loop_.executor(),
                                   [this, script](std::string_view pipe, Stream&) {
                                     made_.emplace_back(pipe);
                                     return std::make_unique<ScriptedHandler>(script);
                                   });
  }

  void Upgrade(Script script) {
    ASSERT_TRUE(pipes_->Quiesce().ok());
    EXPECT_EQ(pipes_->Open("late", UniqueFd(dup(0))).code(), absl::StatusCode::kFailedPrecondition);
    auto state = CarriedState::Of(*pipes_);
    ASSERT_TRUE(state.ok()) << state.status();
    pipes_ = Make(std::move(script));
    const absl::Status status = state->RehydrateInto(*pipes_);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(state->fds_left(), 0u);
    pipes_->Activate();
  }

  TestLoop loop_;
  std::vector<std::string> made_;
  std::unique_ptr<Pipes> pipes_;
};

TEST_F(PipesTest, CarriesHalfALineReadFromAPipe) {
  std::string lines;
  const Script script = {.input = [&](Stream&, std::string_view input) -> size_t {
    const size_t end = input.rfind('\n');
    if (end == std::string_view::npos) return 0;
    lines += input.substr(0, end + 1);
    return end + 1;
  }};
  pipes_ = Make(script);
  pipes_->Activate();
  PipeEnds ends = MakePipe();
  ASSERT_TRUE(pipes_->Open("input", std::move(ends.read)).ok());
  TestClient writer(std::move(ends.write));
  writer.Send("half a ");
  loop_.RunUntil([&] { return pipes_->Find("input")->unread().size() == 7; });
  EXPECT_FALSE(pipes_->Find("input")->Write("x").ok()) << "the reading end";
  Upgrade(script);
  writer.Send("line\n");
  loop_.RunUntil([&] { return lines == "half a line\n"; });
  EXPECT_EQ(made_, (std::vector<std::string>{"input", "input"}));
  writer.Close();
  loop_.RunUntil([&] { return pipes_->Find("input") == nullptr; });
}

TEST_F(PipesTest, CarriesWhatAFullPipeDidNotTake) {
  pipes_ = Make({});
  pipes_->Activate();
  PipeEnds ends = MakePipe();
  ASSERT_TRUE(pipes_->Open("output", std::move(ends.write)).ok());
  const std::string bytes = Numbered(3 << 20);
  ASSERT_TRUE(pipes_->Find("output")->Write(bytes).ok());
  loop_.RunReady();
  ASSERT_GT(pipes_->Find("output")->pending_output(), 0u);
  Upgrade({});
  pipes_->Find("output")->CloseAfterFlush();
  TestClient reader(std::move(ends.read));
  loop_.RunUntil([&] { return reader.Ended(); });
  EXPECT_TRUE(reader.received() == bytes);
}

TEST_F(PipesTest, SurvivesAReaderThatGoesAway) {
  bool closed = false;
  pipes_ = Make({.close = [&](Stream&) { closed = true; }});
  pipes_->Activate();
  PipeEnds ends = MakePipe();
  ASSERT_TRUE(pipes_->Open("output", std::move(ends.write)).ok());
  ASSERT_TRUE(pipes_->Find("output")->Write(Numbered(1 << 20)).ok());
  loop_.RunReady();
  ends.read.reset();  // without SIG_IGN the next write would end this process
  loop_.RunUntil([&] { return closed; });
  EXPECT_EQ(pipes_->Find("output"), nullptr);
}

TEST_F(PipesTest, KeepsATerminalWithItsModes) {
  int master;
  int slave;
  ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  termios modes;
  ASSERT_EQ(tcgetattr(slave, &modes), 0);
  modes.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
  modes.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  ASSERT_EQ(tcsetattr(slave, TCSANOW, &modes), 0);
  TestClient terminal{UniqueFd(master)};
  pipes_ = Make({.input = EchoLines});
  pipes_->Activate();
  ASSERT_TRUE(pipes_->Open("terminal", UniqueFd(slave)).ok());
  terminal.Send("ty");
  loop_.RunUntil([&] { return pipes_->Find("terminal")->unread() == "ty"; });
  Upgrade({.input = EchoLines});
  terminal.Send("ped\n");
  loop_.RunUntil([&] { return terminal.Has("typed\n"); });  // neither echoed nor changed to \r\n
}

TEST_F(PipesTest, CarriesASocketThatTheApplicationConnected) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  TestClient peer{UniqueFd(fds[1])};
  pipes_ = Make({});
  pipes_->Activate();
  ASSERT_TRUE(pipes_->Open("upstream", UniqueFd(fds[0])).ok());
  Upgrade({});
  peer.Send("x");
  loop_.RunUntil([&] { return peer.Has("x"); });
}

TEST_F(PipesTest, RefusesASecondPipeOfANameUntilTheFirstIsClosed) {
  pipes_ = Make({});
  pipes_->Activate();
  PipeEnds first = MakePipe();
  PipeEnds second = MakePipe();
  ASSERT_TRUE(pipes_->Open("p", std::move(first.read)).ok());
  EXPECT_EQ(pipes_->Open("p", UniqueFd(dup(second.read.get()))).code(),
            absl::StatusCode::kAlreadyExists);
  pipes_->Find("p")->Close();
  EXPECT_TRUE(pipes_->Open("p", std::move(second.read)).ok());
  loop_.RunReady();
  EXPECT_NE(pipes_->Find("p"), nullptr);
}

TEST_F(PipesTest, RefusesAPlainFile) {
  pipes_ = Make({});
  EXPECT_EQ(pipes_->Open("file", UniqueFd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC))).code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(pipes_->Find("file"), nullptr);
}

}  // namespace
}  // namespace liveexec::uv
