#include "tests/harness/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

namespace {

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> MergedEnvironment(const std::vector<std::string>& additions) {
  std::map<std::string, std::string> merged;
  auto add = [&merged](const std::string& entry) {
    merged[entry.substr(0, entry.find('='))] = entry;
  };
  for (char** entry = environ; *entry != nullptr; ++entry) add(*entry);
  for (const std::string& entry : additions) add(entry);
  std::vector<std::string> result;
  result.reserve(merged.size());
  for (auto& [name, entry] : merged) result.push_back(entry);
  return result;
}

// The child starts with default signal handling, whatever the test program set for itself.
void SetDefaultSignals(posix_spawnattr_t& attributes) {
  sigset_t signals;
  sigfillset(&signals);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
}

absl::StatusOr<pid_t> Spawn(const SpawnOptions& options) {
  if (options.command.empty()) return absl::InvalidArgumentError("no command given");
  std::vector<std::string> command = options.command;
  std::vector<std::string> environment = MergedEnvironment(options.environment);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  absl::Cleanup destroy = [&] {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  };
  const std::array<int, 3> standard = {options.standard_input, options.standard_output,
                                       options.standard_error};
  for (int number = 0; number < 3; ++number) {
    if (standard[number] >= 0) {
      posix_spawn_file_actions_adddup2(&actions, standard[number], number);
    } else {
      posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0);
    }
  }
  // Whatever the test program itself was started with is not the child's concern.
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  SetDefaultSignals(attributes);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, command[0].c_str(), &actions, &attributes,
                                 Pointers(command).data(), Pointers(environment).data());
  if (error != 0) return ErrnoError(error, absl::StrCat("starting ", command[0]));
  return pid;
}

int TimeoutMs(int64_t deadline_ns) {
  const int64_t left = deadline_ns - NowNs();
  return left <= 0 ? 0 : static_cast<int>(std::min<int64_t>(left / 1'000'000 + 1, 3'600'000));
}

ExitStatus FromSiginfo(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {.code = info.si_status};
  return {.signal = info.si_status};
}

}  // namespace

std::string ExitStatus::ToString() const {
  if (signal != 0) return absl::StrCat("killed by signal ", signal, " (", strsignal(signal), ")");
  return absl::StrCat("exit code ", code);
}

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const SpawnOptions& options) {
  LIVEEXEC_ASSIGN_OR_RETURN(const pid_t pid, Spawn(options));
  // The header of Debian 12 declares pidfd_open() without C linkage.
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  std::unique_ptr<ChildProcess> child(new ChildProcess(pid, std::move(pidfd)));
  if (!child->pidfd_) return ErrnoError(errno, "pidfd_open");
  LIVEEXEC_RETURN_IF_ERROR(child->StartGuard());
  return child;
}

absl::Status ChildProcess::StartGuard() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
  UniqueFd read_end(ends[0]);
  guard_pipe_.reset(ends[1]);
  LIVEEXEC_ASSIGN_OR_RETURN(
      guard_pid_, Spawn({.command = {"/bin/sh", "-c", "read -r _; kill -s KILL -- \"-$1\"", "guard",
                                     absl::StrCat(pid_)},
                         .standard_input = read_end.get()}));
  return absl::OkStatus();
}

void ChildProcess::StopGuard() {
  if (guard_pid_ < 0) return;
  kill(guard_pid_, SIGKILL);
  while (waitpid(guard_pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  guard_pid_ = -1;
}

ChildProcess::~ChildProcess() {
  // The guard goes first: once the child is reaped, the group's number may belong to somebody else.
  StopGuard();
  kill(-pid_, SIGKILL);
  if (exit_) return;
  siginfo_t info{};
  while (waitid(P_PID, pid_, &info, WEXITED) < 0 && errno == EINTR) {
  }
}

bool ChildProcess::running() {
  if (exit_) return false;
  pollfd wait = {.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  return poll(&wait, 1, 0) == 0;
}

absl::Status ChildProcess::Signal(int signal) {
  if (exit_)
    return absl::FailedPreconditionError(absl::StrCat("it has ended: ", exit_->ToString()));
  if (kill(pid_, signal) != 0) return ErrnoError(errno, "kill");
  return absl::OkStatus();
}

absl::StatusOr<ExitStatus> ChildProcess::WaitForExit(absl::Duration timeout) {
  if (exit_) return *exit_;
  const int64_t deadline = NowNs() + absl::ToInt64Nanoseconds(timeout);
  pollfd wait = {.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = poll(&wait, 1, TimeoutMs(deadline));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) {
    return absl::DeadlineExceededError(
        absl::StrCat("process ", pid_, " still runs after ", absl::FormatDuration(timeout)));
  }
  siginfo_t info{};
  // The group's number stays taken, by the zombie, until the guard cannot use it any more.
  StopGuard();
  if (waitid(P_PID, pid_, &info, WEXITED) != 0) return ErrnoError(errno, "waitid");
  exit_ = FromSiginfo(info);
  return *exit_;
}

absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& command,
                                         absl::Duration timeout) {
  const int64_t deadline = NowNs() + absl::ToInt64Nanoseconds(timeout);
  int output[2];
  int errors[2];
  if (pipe2(output, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
  UniqueFd output_read(output[0]);
  UniqueFd output_write(output[1]);
  if (pipe2(errors, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
  UniqueFd errors_read(errors[0]);
  UniqueFd errors_write(errors[1]);
  LIVEEXEC_ASSIGN_OR_RETURN(auto child,
                            ChildProcess::Start({.command = command,
                                                 .standard_output = output_write.get(),
                                                 .standard_error = errors_write.get()}));
  output_write.reset();
  errors_write.reset();

  CommandResult result;
  std::array<pollfd, 2> waits = {pollfd{output_read.get(), POLLIN, 0},
                                 pollfd{errors_read.get(), POLLIN, 0}};
  const std::array<std::string*, 2> sinks = {&result.output, &result.errors};
  while (waits[0].fd >= 0 || waits[1].fd >= 0) {
    const int ready = poll(waits.data(), waits.size(), TimeoutMs(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      return absl::DeadlineExceededError(
          absl::StrCat(command[0], " still runs after ", absl::FormatDuration(timeout),
                       "; it wrote: ", result.output, result.errors));
    }
    for (size_t i = 0; i < waits.size(); ++i) {
      if (waits[i].fd < 0 || waits[i].revents == 0) continue;
      std::array<char, 65536> buffer;
      const ssize_t count = read(waits[i].fd, buffer.data(), buffer.size());
      if (count > 0) sinks[i]->append(buffer.data(), static_cast<size_t>(count));
      if (count == 0 || (count < 0 && errno != EINTR)) waits[i].fd = -1;
    }
  }
  LIVEEXEC_ASSIGN_OR_RETURN(result.exit, child->WaitForExit(absl::Nanoseconds(deadline - NowNs())));
  return result;
}

}  // namespace liveexec::harness
