#include "handoff/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/phase.h"

namespace liveexec {
namespace {

// All signals blocked while this exists: an upgrade must not be interrupted by a handler of the
// program that is about to end. exec keeps the mask; only a failed exec runs the destructor, and
// then it is right that it does.
class AllSignalsBlocked {
 public:
  explicit AllSignalsBlocked(Syscalls& syscalls) : syscalls_(syscalls) {
    sigset_t all;
    sigfillset(&all);
    blocked_ = syscalls_.Sigprocmask(SIG_SETMASK, &all, &before_) == 0;
  }
  ~AllSignalsBlocked() {
    if (blocked_) syscalls_.Sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  Syscalls& syscalls_;
  sigset_t before_;
  bool blocked_ = false;
};

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

absl::Status CheckPendingSignals(Syscalls& syscalls) {
  sigset_t pending;
  if (syscalls.Sigpending(&pending) < 0) return absl::OkStatus();
  for (int number : {SIGTERM, SIGINT}) {
    if (sigismember(&pending, number) != 1) continue;
    return CodedError(
        "E_CANCELLED", absl::StatusCode::kCancelled,
        absl::StrCat("SIG", sigabbrev_np(number), " arrived; the old program deals with it"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Execute(Syscalls& syscalls, const Launch& launch) {
  AllSignalsBlocked blocked(syscalls);
  LIVEEXEC_RETURN_IF_ERROR(CheckPendingSignals(syscalls));
  std::vector<std::string> environment = launch.environment;
  environment.push_back(
      ChannelVariable({.mode = launch.mode, .channel = launch.channel, .nonce = launch.nonce}));
  std::vector<char*> argv = Pointers(launch.traits->arguments);
  std::vector<char*> envp = Pointers(environment);
  std::vector<RlimitValue> limits = ResetRlimits(syscalls, *launch.traits);

  int result = syscalls.CloseRange(3, ~0U, CLOSE_RANGE_CLOEXEC);
  if (result == 0) result = syscalls.Fcntl(launch.channel, F_SETFD, 0);
  bool late = launch.latest_ns != 0 && MonotonicNs() > launch.latest_ns;
  if (result == 0 && !late) {
    result = syscalls.Execveat(launch.program, argv.data(), envp.data());
  }

  syscalls.Fcntl(launch.channel, F_SETFD, FD_CLOEXEC);
  for (int fd : launch.inheritable) syscalls.Fcntl(fd, F_SETFD, 0);
  RestoreRlimits(syscalls, limits);
  if (result == 0) {
    return CodedError("E_TIMEOUT", absl::StatusCode::kDeadlineExceeded,
                      "the blackout's budget was spent just before exec");
  }
  return WithCode(ErrnoError(-result, "exec the new program"),
                  result == -ETXTBSY ? "E_TXTBSY" : "E_EXEC");
}

}  // namespace liveexec
