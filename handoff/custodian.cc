#include "handoff/custodian.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
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
// Asks it to end. Whoever else sends it, to all processes of a name, is not obeyed.
constexpr int kDismissal = SIGTERM;
// The kernel's own, where both sanitizers and libc have others.
constexpr size_t kSignalSetSize = 8;

// How the old program's memory is returned. A piece of small pages takes a tenth of a millisecond;
// where little or nothing is mapped, larger ones are quick enough.
constexpr uint64_t kPiece = 2 << 20;
constexpr uint64_t kLargestPiece = 16 << 20;
constexpr uint64_t kSmallestMapping = 1 << 20;
// Nobody fills more: a sanitizer's shadow, of which next to nothing is there.
constexpr uint64_t kLargestMapping = uint64_t{1} << 40;
constexpr int64_t kQuickNs = 20'000;

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
// Without a stack protector: what it compares with is in memory that is unmapped here.
#if defined(__clang__)
#define LIVEEXEC_RAW \
  __attribute__((no_sanitize("address", "thread", "undefined"), no_stack_protector, noinline))
#else
#define LIVEEXEC_RAW                                                             \
  __attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined, \
                 no_stack_protector, noinline))
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

LIVEEXEC_RAW int64_t Now() {
  struct timespec now = {0, 0};
  RawSyscall(SYS_clock_gettime, CLOCK_MONOTONIC, reinterpret_cast<long>(&now));
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// True when the new program has been at it for longer than its own timer should have allowed.
LIVEEXEC_RAW bool IsOverdue(const FlightRecord& record) {
  int64_t start = record.phase_start_ns[static_cast<int>(Phase::kReceiving)];
  // It may not come so far: the loader can hang.
  if (start == 0) start = record.phase_start_ns[static_cast<int>(Phase::kExecuting)];
  // The old program, which is at it now, has the same time for itself.
  if (record.rollback_start_ns != 0) start = record.rollback_start_ns;
  if (start == 0 || record.rehydrate_deadline_ns <= 0) return false;
  return Now() > start + record.rehydrate_deadline_ns + kGraceNs;
}

// Pauses as long as a piece took: half of a processor is left to others at any time.
// When the server ends meanwhile, so does this: nobody is left who would wait for a processor.
LIVEEXEC_RAW void ReturnMapping(uint64_t start, uint64_t end, long server) {
  const auto here = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  uint64_t piece = kPiece;
  for (uint64_t at = start, size; at < end; at += size) {
    size = end - at < piece ? end - at : piece;
    // Not its own stack, which the kernel may show as a part of a mapping beside it.
    if (at < here + kStackSize && here < at + size + kStackSize) continue;
    if (RawSyscall(SYS_getppid) != server) RawSyscall(SYS_exit_group, 0);
    const int64_t begin = Now();
    RawSyscall(SYS_munmap, static_cast<long>(at), static_cast<long>(size));
    const int64_t took = Now() - begin;
    if (took < kQuickNs) {
      piece = piece < kLargestPiece ? piece * 2 : piece;
      continue;
    }
    piece = kPiece;
    struct timespec pause = {0, took};
    RawSyscall(SYS_nanosleep, reinterpret_cast<long>(&pause), 0);
  }
}

// One line of /proc/self/maps, a character at a time: start-end permissions offset device inode.
struct MapsLine {
  int field;
  bool after_dash;
  uint64_t start, end, inode;
  int permission;  // the next one
  bool writable, shared;
};

LIVEEXEC_RAW void Restart(MapsLine& line) {
  line.field = line.permission = 0;
  line.start = line.end = line.inode = 0;
  line.after_dash = line.writable = line.shared = false;
}

LIVEEXEC_RAW void Read(MapsLine& line, char c) {
  constexpr int kAddresses = 0, kPermissions = 1, kInode = 4, kName = 5;
  if (c == ' ' && line.field < kName) {
    ++line.field;
  } else if (line.field == kAddresses && c == '-') {
    line.after_dash = true;
  } else if (line.field == kAddresses) {
    uint64_t& address = line.after_dash ? line.end : line.start;
    address = address * 16 + static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  } else if (line.field == kPermissions) {
    if (line.permission == 1) line.writable = c == 'w';
    if (line.permission == 3) line.shared = c == 's';
    ++line.permission;
  } else if (line.field == kInode) {
    line.inode = line.inode * 10 + static_cast<uint64_t>(c - '0');
  }
}

// After the commit: the memory is the custodian's alone. Taken down at once, at its end, a large
// address space keeps a processor in the kernel for as long as that takes, and a thread that is
// woken up there waits for its turn, for milliseconds. So that goes piece by piece. Whatever is
// left, the end takes.
LIVEEXEC_RAW void ReturnMemory() {
  const long maps = RawSyscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>("/proc/self/maps"),
                               O_RDONLY | O_CLOEXEC);
  const long server = RawSyscall(SYS_getppid);
  char text[1024];
  MapsLine line;
  Restart(line);
  while (true) {
    const long size = RawSyscall(SYS_read, maps, reinterpret_cast<long>(text), sizeof(text));
    if (size <= 0) break;
    for (long i = 0; i < size; ++i) {
      // What reads is assembly, which the analyzer does not see.
      if (text[i] != '\n') {  // NOLINT(clang-analyzer-core.UndefinedBinaryOperatorResult)
        Read(line, text[i]);
        continue;
      }
      const uint64_t length = line.end - line.start;
      // Not what it runs on: code, and data with the addresses of functions, are files' own.
      const bool state = line.writable && (line.inode == 0 || line.shared);
      if (state && length >= kSmallestMapping && length <= kLargestMapping) {
        ReturnMapping(line.start, line.end, server);
      }
      Restart(line);
    }
  }
  while (true) RawSyscall(SYS_exit_group, 0);
}

// Blocked, like all signals: read from an fd. Any other way to be woken up takes a handler.
LIVEEXEC_RAW long ListenForDismissal() {
  const uint64_t set = uint64_t{1} << (kDismissal - 1);
  return RawSyscall(SYS_signalfd4, -1, reinterpret_cast<long>(&set), kSignalSetSize,
                    SFD_CLOEXEC | SFD_NONBLOCK);
}

LIVEEXEC_RAW int Watch(void* argument) {
  const Plan& plan = *static_cast<const Plan*>(argument);
  CloseAllBut(plan.keep);
  // If there is none, it looks at the record in time.
  const int dismissal = static_cast<int>(ListenForDismissal());
  while (true) {
    struct pollfd watched[] = {{plan.pidfd, POLLIN, 0}, {dismissal, POLLIN, 0}};
    struct timespec wait = {kWatchSeconds, 0};
    long ready = RawSyscall(SYS_ppoll, reinterpret_cast<long>(watched), 2,
                            reinterpret_cast<long>(&wait), 0, 0);
    if (plan.record->commit_started != 0) {
      // At once: the channel, which holds whatever connections the new program closes.
      RawSyscall(SYS_close_range, 0, ~0U, 0);
      ReturnMemory();
    }
    if (ready > 0 && watched[0].revents != 0) break;
    struct signalfd_siginfo ignored;
    if (ready > 0)
      RawSyscall(SYS_read, dismissal, reinterpret_cast<long>(&ignored), sizeof(ignored));
    // Whoever abandons an upgrade kills it, too; this is for when that fails.
    if (plan.dismissed != 0) break;
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
  EndCustodian(pid_);
  memory_->charge.record->custodian_pid = 0;
}

bool CustodianHasEnded(pid_t pid) {
  siginfo_t info = {};
  int result = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT | __WALL);
  return result < 0 || info.si_pid == pid;
}

void DismissCustodian(pid_t pid) { kill(pid, kDismissal); }

bool ReapCustodian(pid_t pid) {
  int status;
  pid_t result = waitpid(pid, &status, WNOHANG | __WALL);
  return result == pid || (result < 0 && errno == ECHILD);
}

void EndCustodian(pid_t pid) {
  kill(pid, SIGKILL);
  int status;
  // Whatever it fails with but ECHILD, the child is still there. Bounded all the same.
  for (int tries = 0; tries < kMostTries; ++tries) {
    if (waitpid(pid, &status, __WALL) == pid || errno == ECHILD) return;
  }
}

}  // namespace liveexec
