// ChildProcesses: children that are still waited for after an upgrade, with their exit status.
//
//   ChildProcesses children("children", executor, [&](const ChildExit& exit) { ... exit.tag ... });
//   auto child = children.Spawn(
//       {.argv = {"/usr/bin/sort"}, .in = ChildStdio::kPipe, .tag = "sort 17"});
//   pipes.Open("sort-17", std::move(child->in), ...);
//
// The children stay children of the process across exec; one that ends during the upgrade is a
// zombie until the new program takes its status. Each is watched by a pidfd, so neither SIGCHLD nor
// uv_spawn (whose table of children exec would lose) is involved, and other code may wait for its
// own children.
//
// All methods and the callback are on the executor's thread. Quiesced: FailedPrecondition.
#ifndef LIVEEXEC_HANDOFF_UV_CHILD_PROCESSES_H_
#define LIVEEXEC_HANDOFF_UV_CHILD_PROCESSES_H_

#include <sys/types.h>
#include <uv.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/poll_handle.h"

namespace liveexec::uv {

enum class ChildStdio {
  kInherit,  // the same as ours
  kNull,     // /dev/null
  kPipe,     // a pipe whose other end Spawn returns
};

struct ChildSpec {
  std::vector<std::string> argv;  // argv[0] is looked up in PATH unless it has a '/'
  std::optional<std::vector<std::string>> environment;  // "NAME=value"; nothing: ours
  std::string directory;                                // empty: ours
  ChildStdio in = ChildStdio::kNull;
  ChildStdio out = ChildStdio::kInherit;
  ChildStdio err = ChildStdio::kInherit;
  std::string tag;  // the application's own bytes, given back in ChildExit, also after upgrades
};

struct SpawnedChild {
  pid_t pid = 0;
  UniqueFd in;  // our ends of pipes, CLOEXEC and non-blocking; empty if not asked for
  UniqueFd out;
  UniqueFd err;
};

struct ChildExit {
  pid_t pid = 0;
  std::string tag;
  // Nothing when it cannot be known: the server was resurrected under a new PID, whose child it is
  // not, or somebody else waited for it.
  std::optional<int> code;    // exit code, when it exited
  std::optional<int> signal;  // the signal that killed it
};

class ChildProcesses final : public Component {
 public:
  using OnExit = std::function<void(const ChildExit&)>;

  ChildProcesses(std::string name, LoopExecutor& executor, OnExit on_exit);
  // Children go on, unwatched.
  ~ChildProcesses() override;

  // Starts a child with all signals at their defaults and unblocked, and with no fd beyond 0, 1 and
  // 2. FailedPrecondition: quiesced, or SIGCHLD is ignored (the kernel then throws statuses away).
  // NotFound, PermissionDenied, ...: it cannot be executed; errno attached.
  absl::StatusOr<SpawnedChild> Spawn(const ChildSpec& spec);

  // NotFound: no such child, or its exit was reported. Safe against PID reuse.
  absl::Status Kill(pid_t pid, int signo);

  // The children that have not been reported yet.
  std::vector<pid_t> pids() const;

  std::string_view name() const override { return name_; }
  absl::Status Quiesce() override;
  absl::Status Export(ExportContext& context) const override;
  void Resume() override;
  absl::Status Rehydrate(ImportContext& context) override;
  void Activate() override;

 private:
  struct Child {
    std::string tag;
    UniqueFd pidfd;
    PollHandle poll;
  };

  absl::Status Adopt(pid_t pid, std::string tag, UniqueFd pidfd);
  void Watch(pid_t pid, Child& child);
  void OnPidfdReadable(pid_t pid);

  const std::string name_;
  LoopExecutor& executor_;
  const OnExit on_exit_;
  bool serving_ = false;
  bool quiesced_ = false;
  std::map<pid_t, Child> children_;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_CHILD_PROCESSES_H_
