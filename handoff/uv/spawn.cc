#include "handoff/uv/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "core/error.h"

namespace liveexec::uv {
namespace {

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

class Attributes {
 public:
  Attributes() {
    posix_spawnattr_init(&attributes_);
    // Ours are blocked in places (signalfd) and ignored in others (SIGPIPE): no child expects that.
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

// Wires the child's fd `number`. `ours` gets our end of a pipe, `childs` the other one, which may
// be closed after the spawn.
absl::Status Wire(FileActions& actions, int number, ChildStdio stdio, UniqueFd& ours,
                  UniqueFd& childs) {
  const bool child_reads = number == STDIN_FILENO;
  int error = 0;
  switch (stdio) {
    case ChildStdio::kInherit:
      // A dup2 onto itself takes O_CLOEXEC away. One that is closed here stays closed there.
      if (fcntl(number, F_GETFD) < 0) return absl::OkStatus();
      error = posix_spawn_file_actions_adddup2(actions.get(), number, number);
      break;
    case ChildStdio::kNull:
      error = posix_spawn_file_actions_addopen(actions.get(), number, "/dev/null",
                                               child_reads ? O_RDONLY : O_WRONLY, 0);
      break;
    case ChildStdio::kPipe: {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
      ours.reset(ends[child_reads ? 1 : 0]);
      childs.reset(ends[child_reads ? 0 : 1]);
      // The two ends are two open file descriptions: the child's stays blocking.
      if (fcntl(ours.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "fcntl");
      error = posix_spawn_file_actions_adddup2(actions.get(), childs.get(), number);
      break;
    }
  }
  return error == 0 ? absl::OkStatus() : ErrnoError(error, "posix_spawn_file_actions");
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<SpawnedChild> SpawnProcess(const ChildSpec& spec) {
  if (spec.argv.empty()) return absl::InvalidArgumentError("a child needs an argv[0]");
  FileActions actions;
  SpawnedChild child;
  std::array<UniqueFd, 3> childs;
  LIVEEXEC_RETURN_IF_ERROR(Wire(actions, STDIN_FILENO, spec.in, child.in, childs[0]));
  LIVEEXEC_RETURN_IF_ERROR(Wire(actions, STDOUT_FILENO, spec.out, child.out, childs[1]));
  LIVEEXEC_RETURN_IF_ERROR(Wire(actions, STDERR_FILENO, spec.err, child.err, childs[2]));
  int error = 0;
  if (!spec.directory.empty()) {
    error = posix_spawn_file_actions_addchdir_np(actions.get(), spec.directory.c_str());
  }
  // Ours are CLOEXEC all; another library's may not be.
  if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(actions.get(), 3);
  if (error != 0) return ErrnoError(error, "posix_spawn_file_actions");

  const Attributes attributes;
  const std::vector<char*> argv = Pointers(spec.argv);
  std::vector<char*> environment;
  if (spec.environment) environment = Pointers(*spec.environment);
  error = posix_spawnp(&child.pid, argv[0], actions.get(), attributes.get(), argv.data(),
                       spec.environment ? environment.data() : environ);
  if (error != 0) return ErrnoError(error, spec.argv[0]);
  return child;
}

}  // namespace liveexec::uv
