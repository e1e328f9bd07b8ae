// CandidateProcess: a candidate that is run beside the server, for a rehearsal.
//
// Spawned vfork-like, so that a server of many gigabytes does not pay for a fork; in a process
// group of its own; with no fd but the channel, an empty stdin, and a pipe for its output, of which
// only so much is kept. It dies with the thread that spawned it.
#ifndef LIVEEXEC_HANDOFF_CANDIDATE_PROCESS_H_
#define LIVEEXEC_HANDOFF_CANDIDATE_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "handoff/inheritance.h"

namespace liveexec {

class CandidateProcess {
 public:
  struct Command {
    int program = -1;         // O_PATH, borrowed
    int channel = -1;         // the receiving end, borrowed
    Inheritance inheritance;  // its channel number is chosen here
    std::vector<std::string> arguments;
    std::vector<std::string> environment;
  };

  // Errors carry the errno (EAGAIN, ENOMEM, ENOENT for a missing interpreter, ...).
  static absl::StatusOr<CandidateProcess> Spawn(const Command& command);

  CandidateProcess(CandidateProcess&&) = default;
  CandidateProcess& operator=(CandidateProcess&&) = delete;
  // Kills its process group and reaps it, if it still runs.
  ~CandidateProcess();

  // Waits until it has ended. Returns its wait status as of waitpid(2); DeadlineExceeded or
  // Cancelled (`cancelled` is asked now and then) when it was killed for that.
  absl::StatusOr<int> Wait(absl::Duration deadline, const std::function<bool()>& cancelled);

  // The last 4 KiB of what it wrote to stdout and stderr, after Wait.
  const std::string& output() const { return output_; }

 private:
  CandidateProcess(pid_t pid, UniqueFd pidfd, UniqueFd pipe)
      : pid_(pid), pidfd_(std::move(pidfd)), pipe_(std::move(pipe)) {}

  void ReadOutput();
  int KillAndReap();

  pid_t pid_;  // -1 once reaped
  UniqueFd pidfd_;
  UniqueFd pipe_;
  std::string output_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CANDIDATE_PROCESS_H_
