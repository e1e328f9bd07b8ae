#include "handoff/uv/signal_watchers.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/signal_mask.h"

namespace liveexec::uv {
namespace {

// Blocked or not, the kernel kills or stops with these, or a fault raises them in its own thread.
bool CannotBeWatched(int signo) {
  switch (signo) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGTRAP:
    case SIGSYS:
      return true;
    default:
      // 32 and 33 belong to the C library.
      return signo < 1 || signo > SIGRTMAX || (signo > 31 && signo < SIGRTMIN);
  }
}

}  // namespace

SignalWatchers::SignalWatchers(std::string name, LoopExecutor& executor)
    : name_(std::move(name)), executor_(executor) {
  sigemptyset(&watched_);
}

SignalWatchers::~SignalWatchers() = default;

absl::Status SignalWatchers::Watch(int signo, Callback callback) {
  if (CannotBeWatched(signo)) {
    return absl::InvalidArgumentError(absl::StrCat("signal ", signo, " cannot be watched"));
  }
  KeepSignalBlocked(signo);
  sigset_t watched = watched_;
  sigaddset(&watched, signo);
  const int fd = signalfd(fd_.get(), &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return ErrnoError(errno, "signalfd");
  if (!fd_) fd_.reset(fd);
  watched_ = watched;
  callbacks_[signo] = std::move(callback);
  return serving_ ? StartPolling() : absl::OkStatus();
}

absl::Status SignalWatchers::StartPolling() {
  if (!fd_) return absl::OkStatus();
  if (!poll_.is_open()) {
    LIVEEXEC_RETURN_IF_ERROR(
        poll_.Open(executor_.loop(), fd_.get(), [this](int) { OnReadable(); }));
  }
  return poll_.Watch(UV_READABLE);
}

void SignalWatchers::OnReadable() {
  // One at a time, and no more than one here: an upgrade that a callback asks for, or that comes
  // next, must find the others in the kernel. The poll is level-triggered and comes back for them.
  signalfd_siginfo info;
  if (read(fd_.get(), &info, sizeof(info)) != sizeof(info)) return;
  auto found = callbacks_.find(static_cast<int>(info.ssi_signo));
  if (found == callbacks_.end()) return;
  const Callback callback = found->second;  // a copy: it may watch the signal anew
  callback(info);
}

absl::Status SignalWatchers::Export(ExportContext&) const {
  // Pending signals and the blocked mask are the kernel's and cross by themselves.
  return absl::OkStatus();
}

absl::Status SignalWatchers::Rehydrate(ImportContext&) { return absl::OkStatus(); }

void SignalWatchers::Activate() {
  serving_ = true;
  StartPolling().IgnoreError();  // only for want of memory: Watch() made the fd
}

}  // namespace liveexec::uv
