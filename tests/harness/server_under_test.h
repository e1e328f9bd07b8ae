// ServerUnderTest: a server that a command line starts, upgrades and stops.
//
//   auto server = ServerUnderTest::Start({
//       .command = {"/path/to/server", "--port", "0", "--control", "{dir}/control"},
//       .ready_line = "listening on tcp .*:([0-9]+)$",      // its first group is the port
//   });
//   (*server)->UpgradeBySignal(SIGHUP, "ready pid=[0-9]+ generation=1$");
//   EXPECT_TRUE((*server)->Stop().value().ok());
//
// Everything waits for events: a line in the server's output, the end of the process, an answer.
// "{dir}" in an argument becomes the server's own directory, which has a short path. Its standard
// output and error go to one file there; the file is printed, and kept, when KeepLog was called
// (ServerTest does on a failed test).
//
// The server may be any program; nothing here knows liveexec. Owned and used by one thread.
#ifndef LIVEEXEC_TESTS_HARNESS_SERVER_UNDER_TEST_H_
#define LIVEEXEC_TESTS_HARNESS_SERVER_UNDER_TEST_H_

#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "tests/harness/child_process.h"
#include "tests/harness/temp_dir.h"
#include "tests/harness/upgrade_means.h"

namespace liveexec::harness {

// How long anything may take that is not itself about time. Generous, for sanitizers on a busy
// machine: reaching it means that something hangs.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

struct ServerOptions {
  std::vector<std::string> command;      // "{dir}" is replaced
  std::vector<std::string> environment;  // "NAME=value"
  // Ready when each of those given holds:
  // a line of its output matches this ECMAScript pattern; a first group, if there is one, is the
  // port;
  std::string ready_line;
  // this UNIX socket ("{dir}" is replaced) accepts connections;
  std::string ready_unix;
  // this TCP port of 127.0.0.1 accepts connections; it becomes port().
  int ready_port = 0;
  absl::Duration start_timeout = kPatience;
};

class ServerUnderTest {
 public:
  // The error holds the server's output so far.
  static absl::StatusOr<std::unique_ptr<ServerUnderTest>> Start(const ServerOptions& options);
  ~ServerUnderTest();
  ServerUnderTest(const ServerUnderTest&) = delete;
  ServerUnderTest& operator=(const ServerUnderTest&) = delete;

  pid_t pid() const { return process_->pid(); }
  int port() const { return port_; }  // 0 when none was announced
  bool running() { return process_->running(); }
  const std::string& directory() const { return directory_.path(); }
  std::string File(std::string_view name) const { return directory_.File(name); }

  absl::Status Signal(int signal) { return process_->Signal(signal); }

  // A place in the server's output, for WaitForLine.
  using Mark = size_t;
  Mark OutputMark() const;
  // Waits for a line after `from` in which `pattern` is found, and returns the match and its
  // groups. DeadlineExceeded: no such line in time. Unavailable: the server ended without it.
  absl::StatusOr<std::vector<std::string>> WaitForLine(const std::string& pattern, Mark from = 0,
                                                       absl::Duration timeout = kPatience);

  // Sends `signal` and waits for a new line that matches `done`.
  absl::StatusOr<std::vector<std::string>> UpgradeBySignal(int signal, const std::string& done,
                                                           absl::Duration timeout = kPatience);
  // Runs a command that upgrades, synchronously. Its exit code is for the caller to judge.
  absl::StatusOr<CommandResult> UpgradeByCommand(std::vector<std::string> command,
                                                 absl::Duration timeout = kPatience);
  // Upgrades to `binary` (empty: the server's own choice) by any of these means, and waits until it
  // is done. Aborted: a command refused, with what it wrote.
  absl::Status UpgradeTo(const std::string& binary, const UpgradeMeans& means,
                         absl::Duration timeout = kPatience);
  // Puts a copy of `binary` in place of `installed` ("{dir}" is replaced), as a deployment does it:
  // a complete file, renamed over the old one.
  absl::Status Install(const std::string& binary, const std::string& installed);

  // SIGTERM (or `signal`) and the exit.
  absl::StatusOr<ExitStatus> Stop(int signal = SIGTERM, absl::Duration timeout = kPatience);
  absl::StatusOr<ExitStatus> WaitForExit(absl::Duration timeout = kPatience) {
    return process_->WaitForExit(timeout);
  }

  // All that it has written.
  std::string Output() const;
  // Prints the output to stderr at destruction, and keeps the directory.
  void KeepLog() { keep_log_ = true; }

 private:
  ServerUnderTest() = default;
  std::string Expand(const std::string& text) const;
  absl::Status Launch(const ServerOptions& options);
  std::string HowItEnded();
  absl::Status WaitUntilReady(const ServerOptions& options);

  TempDir directory_;
  UniqueFd log_;      // read side, and inotify's subject
  UniqueFd changes_;  // inotify: the log has grown
  std::unique_ptr<ChildProcess> process_;
  int port_ = 0;
  bool keep_log_ = false;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_SERVER_UNDER_TEST_H_
