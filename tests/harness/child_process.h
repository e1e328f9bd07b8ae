// ChildProcess: one process that the harness started, and that cannot outlive it.
//
//   auto child = ChildProcess::Start({.command = {"/usr/bin/redis-server", "--port", "0"}});
//   child->Signal(SIGTERM);
//   auto exit = child->WaitForExit(absl::Seconds(10));
//
// The process leads a process group of its own. A guard (a shell that waits for EOF on a pipe from
// us) kills that group when this process ends in any way, SIGKILL included. It is a process beside
// the child, rather than PR_SET_PDEATHSIG inside it, because the child is what is being tested: its
// traits are to stay untouched, and a program that was resurrected under another PID must go as
// well.
#ifndef LIVEEXEC_TESTS_HARNESS_CHILD_PROCESS_H_
#define LIVEEXEC_TESTS_HARNESS_CHILD_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"

namespace liveexec::harness {

struct SpawnOptions {
  std::vector<std::string> command;      // [0] is looked up in PATH when it has no slash
  std::vector<std::string> environment;  // "NAME=value", added to (or replacing) our own
  // Borrowed; -1 means /dev/null.
  int standard_input = -1;
  int standard_output = -1;
  int standard_error = -1;
};

// How a process ended.
struct ExitStatus {
  int code = 0;    // meaningful when signal is 0
  int signal = 0;  // what killed it, or 0
  bool ok() const { return code == 0 && signal == 0; }
  std::string ToString() const;  // "exit code 3", "killed by signal 11 (Segmentation fault)"
};

// Owned and used by one thread.
class ChildProcess {
 public:
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const SpawnOptions& options);
  // Kills the whole process group with SIGKILL and reaps the child.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Readable when the process has ended; borrowed.
  int pidfd() const { return pidfd_.get(); }
  bool running();

  // To the process, not to its group. FailedPrecondition when it has been reaped.
  absl::Status Signal(int signal);
  // DeadlineExceeded when it still runs then. May be called again after it has returned.
  absl::StatusOr<ExitStatus> WaitForExit(absl::Duration timeout);

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  absl::Status StartGuard();
  void StopGuard();

  pid_t pid_;
  UniqueFd pidfd_;
  pid_t guard_pid_ = -1;
  UniqueFd guard_pipe_;
  std::optional<ExitStatus> exit_;
};

struct CommandResult {
  ExitStatus exit;
  std::string output;
  std::string errors;
};

// Runs a command to its end and collects what it writes. DeadlineExceeded when it takes longer; it
// is killed then.
absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& command,
                                         absl::Duration timeout);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_CHILD_PROCESS_H_
