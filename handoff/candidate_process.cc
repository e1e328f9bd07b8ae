#include "handoff/candidate_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/phase.h"

namespace liveexec {
namespace {

// The fds that the child has besides stdio.
constexpr int kChildChannel = 3;
constexpr int kChildProgram = 4;
constexpr int kAboveChildFds = 5;
constexpr size_t kKeptOutput = 4096;
constexpr int kMostTries = 100;
constexpr int kPollMs = 50;  // how long a cancellation may go unnoticed

// Owns what posix_spawn wants initialized and destroyed.
struct SpawnSettings {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;

  SpawnSettings() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
};

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// A duplicate out of the way of the numbers that the child gets.
UniqueFd DuplicateHigh(int fd) { return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 2 * kAboveChildFds)); }

void SetSignals(posix_spawnattr_t& attributes) {
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

}  // namespace

absl::StatusOr<CandidateProcess> CandidateProcess::Spawn(const Command& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe for a rehearsal's output");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  fcntl(read_end.get(), F_SETFL, O_NONBLOCK);
  UniqueFd channel = DuplicateHigh(command.channel);
  UniqueFd program = DuplicateHigh(command.program);
  UniqueFd output = DuplicateHigh(write_end.get());
  if (!channel || !program || !output) return ErrnoError(errno, "duplicate fds for a rehearsal");
  write_end.reset();

  SpawnSettings settings;
  posix_spawn_file_actions_addopen(&settings.files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&settings.files, output.get(), 1);
  posix_spawn_file_actions_adddup2(&settings.files, output.get(), 2);
  posix_spawn_file_actions_adddup2(&settings.files, channel.get(), kChildChannel);
  posix_spawn_file_actions_adddup2(&settings.files, program.get(), kChildProgram);
  posix_spawn_file_actions_addclosefrom_np(&settings.files, kAboveChildFds);
  SetSignals(settings.attributes);

  Inheritance inheritance = command.inheritance;
  inheritance.channel = kChildChannel;
  std::vector<std::string> environment = command.environment;
  environment.push_back(ChannelVariable(inheritance));
  std::vector<char*> argv = Pointers(command.arguments);
  std::vector<char*> envp = Pointers(environment);
  std::string path = absl::StrCat("/proc/self/fd/", kChildProgram);
  pid_t pid;
  int error = posix_spawn(&pid, path.c_str(), &settings.files, &settings.attributes, argv.data(),
                          envp.data());
  if (error != 0) return ErrnoError(error, "spawn the candidate for its rehearsal");
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  CandidateProcess process(pid, std::move(pidfd), std::move(read_end));
  if (!process.pidfd_) {
    absl::Status status = ErrnoError(errno, "pidfd_open");
    process.KillAndReap();
    return status;
  }
  return process;
}

CandidateProcess::~CandidateProcess() {
  if (pidfd_) KillAndReap();
}

int CandidateProcess::KillAndReap() {
  if (pid_ < 0) return 0;
  kill(-pid_, SIGKILL);
  kill(pid_, SIGKILL);
  int status = 0;
  // Whatever it fails with but ECHILD, the child is still there. Bounded all the same.
  for (int tries = 0; tries < kMostTries; ++tries) {
    if (waitpid(pid_, &status, 0) == pid_ || errno == ECHILD) break;
  }
  // What it left behind in its group, if anything.
  kill(-pid_, SIGKILL);
  pid_ = -1;
  return status;
}

void CandidateProcess::ReadOutput() {
  char buffer[4096];
  // Bounded: a candidate that writes faster than this is read again after the next poll.
  for (int i = 0; i < 16; ++i) {
    ssize_t count = read(pipe_.get(), buffer, sizeof(buffer));
    if (count <= 0) return;
    output_.append(buffer, static_cast<size_t>(count));
    if (output_.size() > kKeptOutput) output_.erase(0, output_.size() - kKeptOutput);
  }
}

absl::StatusOr<int> CandidateProcess::Wait(absl::Duration deadline,
                                           const std::function<bool()>& cancelled) {
  int64_t end_ns = MonotonicNs() + absl::ToInt64Nanoseconds(deadline);
  while (true) {
    pollfd fds[2] = {{pidfd_.get(), POLLIN, 0}, {pipe_.get(), POLLIN, 0}};
    // A pipe whose writers are gone stays "readable": only the end of the process matters then.
    poll(fds, (fds[1].fd >= 0) ? 2 : 1, kPollMs);
    if ((fds[1].revents & POLLIN) != 0) ReadOutput();
    if (fds[0].revents != 0) {
      ReadOutput();
      return KillAndReap();  // It has ended already; this reaps it and clears its group.
    }
    if ((fds[1].revents & POLLHUP) != 0 && (fds[1].revents & POLLIN) == 0) {
      // It closed its output: wait for its end alone.
      pollfd end = {pidfd_.get(), POLLIN, 0};
      poll(&end, 1, kPollMs);
    }
    if (cancelled()) {
      KillAndReap();
      return absl::CancelledError("the upgrade was cancelled");
    }
    if (MonotonicNs() >= end_ns) {
      ReadOutput();
      KillAndReap();
      return absl::DeadlineExceededError("the rehearsal took longer than its deadline");
    }
  }
}

}  // namespace liveexec
