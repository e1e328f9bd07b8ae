// `liveexec` as its users see it: the real command, against a control socket that a test serves.
#ifndef LIVEEXEC_HANDOFF_CLI_CLI_FIXTURE_H_
#define LIVEEXEC_HANDOFF_CLI_CLI_FIXTURE_H_

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "handoff/control_test_util.h"
#include "handoff/program_note.h"

namespace liveexec {

struct Finished {
  int exit_code = -1;
  std::string out;
  std::string err;
};

inline std::string Drain(int fd) {
  std::string text;
  char buffer[4096];
  ssize_t count;
  while ((count = read(fd, buffer, sizeof(buffer))) > 0 || (count < 0 && errno == EINTR)) {
    if (count > 0) text.append(buffer, static_cast<size_t>(count));
  }
  return text;  // a terminal whose other end is closed ends with EIO
}

enum class Stdout { kPipe, kTerminal };

// Runs the command with just these arguments and variables, to its end.
inline Finished Command(std::vector<std::string> arguments,
                        std::vector<std::string> environment = {}, Stdout kind = Stdout::kPipe) {
  const std::string program = getenv("LIVEEXEC_COMMAND");
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv, envp;
  for (std::string& word : arguments) argv.push_back(word.data());
  for (std::string& word : environment) envp.push_back(word.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  int out[2] = {-1, -1}, err[2] = {-1, -1};
  if (kind == Stdout::kTerminal) {
    EXPECT_EQ(openpty(&out[0], &out[1], nullptr, nullptr, nullptr), 0);
    fcntl(out[0], F_SETFD, FD_CLOEXEC);
    fcntl(out[1], F_SETFD, FD_CLOEXEC);
  } else {
    EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
  }
  EXPECT_EQ(pipe2(err, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), envp.data()), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  close(err[1]);
  Finished outcome;
  outcome.out = Drain(out[0]);
  outcome.err = Drain(err[0]);
  close(out[0]);
  close(err[0]);
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status));
  outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

inline JournalEntry Entry(Outcome outcome) {
  JournalEntry entry;
  entry.upgrade = 4;
  entry.trigger = "control";
  entry.from_version = "1.0";
  entry.to_version = "2.0";
  entry.outcome = outcome;
  entry.blackout_ns = 3'210'000;
  entry.pid = 4321;
  entry.fds = 1064;
  entry.state_bytes = 12595;
  entry.phases = {{"checking", 0, 1'000'000}, {"sealing", 5, 2'000'000}};
  if (outcome != Outcome::kCommitted) {
    entry.code = "E_SEAL";
    entry.message = "no memory";
    entry.failed_phase = "sealing";
  }
  return entry;
}

class CliTest : public testing::Test {
 protected:
  CliTest() {
    handlers_.status = [] {
      ControlStatus status;
      status.program = *OwnProgramNote();
      status.pid = 77;
      status.generation = 3;
      status.threads = 4;
      status.upgrade_binary = "/srv/bin/server";
      status.last_result = Entry(Outcome::kCommitted);
      return status;
    };
    handlers_.history = [](uint32_t limit) {
      std::vector<JournalEntry> entries = {Entry(Outcome::kCommitted), Entry(Outcome::kAbandoned)};
      if (limit == 1) entries.erase(entries.begin());
      return entries;
    };
    handlers_.upgrade = [this](ControlServer::ConnectionId id, const ControlUpgrade& upgrade) {
      {
        std::lock_guard lock(mutex_);
        asked_ = upgrade;
      }
      server_->SendProgress(id, {"checking", ControlProgress::State::kStarted});
      server_->SendProgress(id,
                            {"checking", ControlProgress::State::kFinished, 1'000'000, "2 fds"});
      server_->SendResult(id, Entry(outcome_));
      return absl::OkStatus();
    };
  }
  ~CliTest() override { thread_.reset(); }

  void Serve() {
    auto server = ControlServer::Listen(directory_.socket(), handlers_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    thread_.emplace(*server_);
  }
  std::string control() const { return directory_.socket(); }
  // What the newest request for an upgrade said.
  ControlUpgrade asked() {
    std::lock_guard lock(mutex_);
    return asked_;
  }

  TestDirectory directory_;
  ControlServer::Handlers handlers_;
  std::atomic<Outcome> outcome_{Outcome::kCommitted};
  std::mutex mutex_;
  ControlUpgrade asked_;
  std::unique_ptr<ControlServer> server_;
  std::optional<ServerThread> thread_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CLI_CLI_FIXTURE_H_
