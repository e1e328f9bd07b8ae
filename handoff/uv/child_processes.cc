#include "handoff/uv/child_processes.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/uv/images.capnp.h"
#include "handoff/uv/spawn.h"

namespace liveexec::uv {
namespace {

absl::Status Quiesced() {
  return absl::FailedPreconditionError("children are quiesced for an upgrade");
}

// glibc 2.36 declares its own wrappers without C linkage.
int OpenPidfd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }
int SendSignal(int pidfd, int signo) {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signo, nullptr, 0));
}

bool StatusesAreThrownAway() {
  struct sigaction now;
  if (sigaction(SIGCHLD, nullptr, &now) != 0) return false;
  return now.sa_handler == SIG_IGN || (now.sa_flags & SA_NOCLDWAIT) != 0;
}

}  // namespace

ChildProcesses::ChildProcesses(std::string name, LoopExecutor& executor, OnExit on_exit)
    : name_(std::move(name)), executor_(executor), on_exit_(std::move(on_exit)) {}

ChildProcesses::~ChildProcesses() = default;

absl::StatusOr<SpawnedChild> ChildProcesses::Spawn(const ChildSpec& spec) {
  if (quiesced_) return Quiesced();
  if (StatusesAreThrownAway()) {
    return absl::FailedPreconditionError("SIGCHLD is ignored: the exit status would be lost");
  }
  LIVEEXEC_ASSIGN_OR_RETURN(SpawnedChild child, SpawnProcess(spec));
  // The child cannot be reaped by another before this, so the number is still its.
  UniqueFd pidfd(OpenPidfd(child.pid));
  absl::Status status = pidfd ? absl::OkStatus() : ErrnoError(errno, "pidfd_open");
  if (status.ok()) status = Adopt(child.pid, spec.tag, std::move(pidfd));
  if (!status.ok()) {
    // A child that nobody watches would be worse than none.
    kill(child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
    return status;
  }
  return child;
}

absl::Status ChildProcesses::Adopt(pid_t pid, std::string tag, UniqueFd pidfd) {
  Child child;
  LIVEEXEC_RETURN_IF_ERROR(
      child.poll.Open(executor_.loop(), pidfd.get(), [this, pid](int) { OnPidfdReadable(pid); }));
  child.tag = std::move(tag);
  child.pidfd = std::move(pidfd);
  if (serving_) LIVEEXEC_RETURN_IF_ERROR(child.poll.Watch(UV_READABLE));
  children_.insert_or_assign(pid, std::move(child));
  return absl::OkStatus();
}

void ChildProcesses::OnPidfdReadable(pid_t pid) {
  auto found = children_.find(pid);
  if (found == children_.end()) return;
  ChildExit exit = {.pid = pid};
  siginfo_t info = {};
  const auto id = static_cast<id_t>(found->second.pidfd.get());
  if (waitid(P_PIDFD, id, &info, WEXITED | WNOHANG) == 0) {
    if (info.si_pid == 0) return;  // not yet
    if (info.si_code == CLD_EXITED) {
      exit.code = info.si_status;
    } else {
      exit.signal = info.si_status;
    }
  }
  // Otherwise it is not our child, or is reaped already: it has ended, and how is not known.
  exit.tag = std::move(found->second.tag);
  children_.erase(found);
  if (on_exit_) on_exit_(exit);
}

absl::Status ChildProcesses::Kill(pid_t pid, int signo) {
  if (quiesced_) return Quiesced();
  auto found = children_.find(pid);
  if (found == children_.end()) return absl::NotFoundError(absl::StrCat("no child has PID ", pid));
  if (SendSignal(found->second.pidfd.get(), signo) != 0) {
    return ErrnoError(errno, absl::StrCat("signal ", signo, " to child ", pid));
  }
  return absl::OkStatus();
}

std::vector<pid_t> ChildProcesses::pids() const {
  std::vector<pid_t> pids;
  for (const auto& [pid, child] : children_) pids.push_back(pid);
  return pids;
}

absl::Status ChildProcesses::Quiesce() {
  quiesced_ = true;
  return absl::OkStatus();
}

void ChildProcesses::Resume() { quiesced_ = false; }

absl::Status ChildProcesses::Export(ExportContext& context) const {
  auto records = context.InitRoot<image::ChildProcesses>().initChildren(
      static_cast<unsigned>(children_.size()));
  unsigned i = 0;
  for (const auto& [pid, child] : children_) {
    records[i].setPid(pid);
    records[i].setTag(
        capnp::Data::Reader(reinterpret_cast<const kj::byte*>(child.tag.data()), child.tag.size()));
    LIVEEXEC_RETURN_IF_ERROR(
        context.CarryFd("pidfd", static_cast<uint64_t>(pid), child.pidfd.get()));
    ++i;
  }
  return absl::OkStatus();
}

absl::Status ChildProcesses::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(const auto image, context.Root<image::ChildProcesses>());
  for (image::ChildProcesses::Child::Reader record : image.getChildren()) {
    const pid_t pid = record.getPid();
    if (pid <= 0) return absl::DataLossError(absl::StrCat("no child has PID ", pid));
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd pidfd, context.TakeFd("pidfd", static_cast<uint64_t>(pid)));
    const auto tag = record.getTag().asChars();
    LIVEEXEC_RETURN_IF_ERROR(Adopt(pid, std::string(tag.begin(), tag.size()), std::move(pidfd)));
  }
  return absl::OkStatus();
}

void ChildProcesses::Activate() {
  serving_ = true;
  for (auto& [pid, child] : children_) child.poll.Watch(UV_READABLE).IgnoreError();
}

}  // namespace liveexec::uv
