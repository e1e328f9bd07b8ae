#include "handoff/custodian.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/error.h"
#include "core/raw_syscall.h"
#include "core/unique_fd.h"
#include "handoff/inheritance.h"

#if defined(__SANITIZE_THREAD__)
// The sanitizer takes clone() for a fork, and would ignore the calling thread from then on.
extern "C" int __clone(int (*function)(void*), void* stack, int flags, void* argument, ...);
#endif

namespace liveexec {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr auto* kClone = __clone;
#else
constexpr auto* kClone = clone;
#endif

constexpr int kMostTries = 100;
constexpr size_t kStackSize = 64 << 10;
constexpr int kWatchSeconds = 1;
// How much longer than its deadline a new program may take before it is taken for hung beyond its
// own timer's reach.
constexpr int64_t kGraceNs = 5'000'000'000;

// Everything the custodian reads. It lives in the old program's memory, which the custodian keeps.
struct Plan {
  int channel;
  int old_program;
  int pidfd;
  int keep[6];  // ascending: stdio and the three above
  FlightRecord* record;
  volatile int dismissed;  // 1: the upgrade was abandoned
  char** argv;
  char** envp;
};

// Not instrumented: sanitizers keep state in the memory that is shared.
#if defined(__clang__)
#define LIVEEXEC_RAW __attribute__((no_sanitize("address", "thread", "undefined"), noinline))
#else
#define LIVEEXEC_RAW \
  __attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined, noinline))
#endif

LIVEEXEC_RAW void CloseAllBut(const int (&keep)[6]) {
  unsigned next = 0;
  for (int fd : keep) {
    auto number = static_cast<unsigned>(fd);
    if (number > next) RawSyscall(SYS_close_range, next, number - 1, 0);
    next = number + 1;
  }
  RawSyscall(SYS_close_range, next, ~0U, 0);
}

// True when the new program has been at it for longer than its own timer should have allowed.
LIVEEXEC_RAW bool IsOverdue(const FlightRecord& record) {
  int64_t start = record.phase_start_ns[static_cast<int>(Phase::kReceiving)];
  // It may not come so far: the loader can hang.
  if (start == 0) start = record.phase_start_ns[static_cast<int>(Phase::kExecuting)];
  // The old program, which is at it now, has the same time for itself.
  if (record.rollback_start_ns != 0) start = record.rollback_start_ns;
  if (start == 0 || record.rehydrate_deadline_ns <= 0) return false;
  struct timespec now;
  RawSyscall(SYS_clock_gettime, CLOCK_MONOTONIC, reinterpret_cast<long>(&now));
  int64_t now_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec;
  return now_ns > start + record.rehydrate_deadline_ns + kGraceNs;
}

LIVEEXEC_RAW int Watch(void* argument) {
  const Plan& plan = *static_cast<const Plan*>(argument);
  CloseAllBut(plan.keep);
  while (true) {
    struct pollfd end = {plan.pidfd, POLLIN, 0};
    struct timespec wait = {kWatchSeconds, 0};
    long ready =
        RawSyscall(SYS_ppoll, reinterpret_cast<long>(&end), 1, reinterpret_cast<long>(&wait), 0, 0);
    if (ready > 0) break;
    // Whoever dismisses it kills it, too; this is for when that fails.
    if (plan.dismissed != 0 || plan.record->commit_started != 0) break;
    if (plan.record->sealed == 1 && IsOverdue(*plan.record)) {
      RawSyscall(SYS_pidfd_send_signal, plan.pidfd, SIGKILL, 0, 0);
    }
  }
  // Before the seal there is nothing to start from; from the commit on there is nothing to start.
  if (plan.record->sealed == 1 && plan.record->commit_started == 0 && plan.dismissed == 0) {
    RawSyscall(SYS_fcntl, plan.channel, F_SETFD, 0);
    RawSyscall(SYS_execveat, plan.old_program, reinterpret_cast<long>(""),
               reinterpret_cast<long>(plan.argv), reinterpret_cast<long>(plan.envp), AT_EMPTY_PATH);
  }
  RawSyscall(SYS_exit_group, 0);
  return 0;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

struct Custodian::Memory {
  Charge charge;
  Plan plan;
  std::vector<char*> argv;
  std::vector<char*> envp;
  void* stack = MAP_FAILED;

  ~Memory() {
    if (stack != MAP_FAILED) munmap(stack, kStackSize);
  }
};

Custodian::Custodian(pid_t pid, std::unique_ptr<Memory> memory)
    : pid_(pid), memory_(std::move(memory)) {}

absl::StatusOr<std::unique_ptr<Custodian>> Custodian::Start(Charge charge) {
  auto memory = std::make_unique<Memory>();
  memory->charge = std::move(charge);
  Charge& kept = memory->charge;
  kept.environment.push_back(ChannelVariable(
      {.mode = StartMode::kResurrection, .channel = kept.channel, .nonce = kept.nonce}));
  memory->argv = Pointers(kept.arguments);
  memory->envp = Pointers(kept.environment);
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!pidfd) return ErrnoError(errno, "pidfd_open");
  Plan& plan = memory->plan;
  plan.channel = kept.channel;
  plan.old_program = kept.old_program;
  plan.pidfd = pidfd.get();
  const int keep[] = {0, 1, 2, kept.channel, kept.old_program, pidfd.get()};
  std::copy(std::begin(keep), std::end(keep), std::begin(plan.keep));
  plan.record = kept.record;
  plan.dismissed = 0;
  plan.argv = memory->argv.data();
  plan.envp = memory->envp.data();
  std::sort(std::begin(plan.keep), std::end(plan.keep));
  memory->stack = mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory->stack == MAP_FAILED) return ErrnoError(errno, "map the custodian's stack");
  char* top = static_cast<char*>(memory->stack) + kStackSize;
  pid_t pid = kClone(Watch, top, CLONE_VM, &plan);
  if (pid < 0) return ErrnoError(errno, "clone the custodian");
  // The clone has its own table: our pidfd may go.
  kept.record->custodian_pid = pid;
  return std::unique_ptr<Custodian>(new Custodian(pid, std::move(memory)));
}

Custodian::~Custodian() {
  memory_->plan.dismissed = 1;
  DismissCustodian(pid_);
  AwaitDismissedCustodian(pid_);
  memory_->charge.record->custodian_pid = 0;
}

bool CustodianHasEnded(pid_t pid) {
  siginfo_t info = {};
  int result = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT | __WALL);
  return result < 0 || info.si_pid == pid;
}

void DismissCustodian(pid_t pid) { kill(pid, SIGKILL); }

bool ReapCustodian(pid_t pid) {
  int status;
  pid_t result = waitpid(pid, &status, WNOHANG | __WALL);
  return result == pid || (result < 0 && errno == ECHILD);
}

void AwaitDismissedCustodian(pid_t pid) {
  int status;
  // Whatever it fails with but ECHILD, the child is still there. Bounded all the same.
  for (int tries = 0; tries < kMostTries; ++tries) {
    if (waitpid(pid, &status, __WALL) == pid || errno == ECHILD) return;
  }
}

}  // namespace liveexec
