#include "tests/faults/victim/misbehaviour.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/unique_fd.h"
#include "handoff/error_code.h"
#include "handoff/inheritance.h"

namespace {
std::atomic<int64_t> wall_clock_offset{0};
}  // namespace

// Takes libc's place in this program, so that the wall clock can jump for it alone.
extern "C" int clock_gettime(clockid_t clock, struct timespec* now) noexcept {
  const long result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += wall_clock_offset;
  return static_cast<int>(result);
}

namespace liveexec::faults {
namespace {

std::string& DirectoryStorage() {
  // Never destroyed: atexit handlers and static constructors ask for it.
  static auto* const directory = new std::string;
  return *directory;
}

std::string ReadAll(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return "";
  std::string text(4096, '\0');
  const ssize_t size = read(fd.get(), text.data(), text.size());
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return text;
}

bool Fits(std::string_view pattern, std::string_view value) {
  return pattern == "*" || pattern == value;
}

int OverflowStack(volatile int* depth);
// Recursion that no optimizer turns into a loop, and no compiler warns of.
int (*volatile recurse)(volatile int*) = OverflowStack;

int OverflowStack(volatile int* depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(*depth);
  *depth = *depth + 1;
  return recurse(depth) + frame[0];
}

void UseUpMemory() {
  const struct rlimit limit = {64 << 20, RLIM_INFINITY};
  setrlimit(RLIMIT_AS, &limit);
  std::vector<std::unique_ptr<char[]>> taken;
  while (true) taken.push_back(std::make_unique<char[]>(1 << 20));
}

void Flood() {
  const std::string block(64 << 10, 'x');
  for (int i = 0; i < 1024; ++i) {
    if (write(STDERR_FILENO, block.data(), block.size()) < 0) return;
  }
}

std::vector<int> OpenFds() {
  std::vector<int> fds;
  std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/fd"), closedir);
  if (directory == nullptr) return fds;
  while (const struct dirent* entry = readdir(directory.get())) {
    int fd;
    if (absl::SimpleAtoi(entry->d_name, &fd) && fd > 2 && fd != dirfd(directory.get())) {
      fds.push_back(fd);
    }
  }
  return fds;
}

// What a rehearsal must not be able to do to the server's own.
void MeddleWithFds() {
  for (int fd : OpenFds()) {
    const int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags ^ O_NONBLOCK);
    lseek(fd, 0, SEEK_SET);
    shutdown(fd, SHUT_RDWR);
  }
}

void ScribbleOverRecorder() {
  for (int fd : OpenFds()) {
    char name[64] = {};
    if (readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), name, sizeof(name) - 1) < 0) continue;
    if (std::string_view(name).find("liveexec-recorder") == std::string_view::npos) continue;
    const std::string garbage(4096, '\xa5');
    if (pwrite(fd, garbage.data(), garbage.size(), 0) < 0) return;
  }
}

void BlockAllSignals() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
}

[[noreturn]] void HangForever() {
  while (true) pause();
}

// The signal as the program would really raise it.
void DieOf(std::string_view action) {
  volatile int zero = 0, one = 1;
  if (action == "segv") *static_cast<volatile int*>(nullptr) = 1;
  if (action == "abort") abort();
  if (action == "fpe") zero = one / zero;
  if (action == "ill") __builtin_trap();
  if (action == "trap") raise(SIGTRAP);
  if (action == "stack") zero = OverflowStack(&zero);
  if (action == "kill") raise(SIGKILL);
}

void Misbehave(std::string_view action, int number) {
  DieOf(action);
  if (action == "exit") exit(number);
  if (action == "_exit") _exit(number);
  if (action == "hang") HangForever();
  if (action == "hang-blocked") {
    BlockAllSignals();
    HangForever();
  }
  if (action == "memory") UseUpMemory();
  if (action == "interrupt") {
    // A handler that does nothing loses what it is told at exec, as one with a pipe does. Once it
    // has run, everything is as before.
    struct sigaction nothing = {};
    nothing.sa_handler = [](int) {};
    nothing.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &nothing, nullptr);
    raise(SIGINT);
  }
  if (action == "leak") (void)memfd_create("leaked", MFD_CLOEXEC);
  if (action == "jump") wall_clock_offset = number;
  if (action == "flood") Flood();
  if (action == "meddle") MeddleWithFds();
  if (action == "scribble") {
    ScribbleOverRecorder();
    _exit(0);
  }
  if (action == "seccomp") prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
  if (action == "squat") {
    // Where the first region is: see core/resident_region.cc.
    mmap(reinterpret_cast<void*>(0x550000000000), 4096, PROT_READ,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  }
  if (action == "nofile") {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = static_cast<rlim_t>(number);
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

}  // namespace

void SetDirectory(std::string_view directory) { DirectoryStorage() = std::string(directory); }
const std::string& Directory() { return DirectoryStorage(); }

std::string PlanFor(std::string_view point) {
  if (Directory().empty()) return "";
  const std::string_view mode = StartModeName(ProcessInheritance().mode);
  const std::string plan = ReadAll(Directory() + "/plan");
  for (const absl::string_view line : absl::StrSplit(plan, '\n')) {
    std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() < 4 || !Fits(words[0], kRole)) continue;
    if (!Fits(words[1], mode) || !Fits(words[2], point)) continue;
    return absl::StrJoin(words.begin() + 3, words.end(), " ");
  }
  return "";
}

absl::Status Reach(std::string_view point) {
  const std::string plan = PlanFor(point);
  if (plan.empty()) return absl::OkStatus();
  const std::pair<std::string, std::string> words = absl::StrSplit(plan, absl::MaxSplits(' ', 1));
  const auto& [action, argument] = words;
  int number = 0;
  if (!absl::SimpleAtoi(argument, &number)) number = 0;
  if (action == "error") {
    const std::string text = absl::StrCat("the plan says so at ", std::string(point));
    if (argument.empty()) return absl::InternalError(text);
    return CodedError(argument, absl::StatusCode::kInternal, text);
  }
  if (action == "throw") throw std::runtime_error("thrown according to plan");
  if (action == "stop") StopAt(point);
  Misbehave(action, number);
  return absl::OkStatus();
}

void PauseIfTraced() {
  const std::string status = ReadAll("/proc/self/status");
  // Untraced calls do not fail: a status that cannot be read is that of a traced process.
  if (!status.empty() && absl::StrContains(status, "TracerPid:\t0\n")) return;
  syscall(SYS_tgkill, getpid(), gettid(), SIGSTOP);
}

void StopAt(std::string_view point) {
  const std::string report =
      absl::StrCat(getpid(), " ", std::string(point), " ",
                   std::string(StartModeName(ProcessInheritance().mode)), "\n");
  UniqueFd events(open((Directory() + "/events").c_str(), O_WRONLY | O_CLOEXEC));
  UniqueFd go(open((Directory() + "/go").c_str(), O_RDONLY | O_CLOEXEC));
  if (!events || !go) return;
  if (write(events.get(), report.data(), report.size()) < 0) return;
  char byte;
  while (read(go.get(), &byte, 1) < 0) {
  }
}

}  // namespace liveexec::faults
