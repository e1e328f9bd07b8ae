#include "handoff/rollback.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <iterator>

#include "handoff/error_code.h"
#include "handoff/inheritance.h"

// The bounds of this program's code, defined by the linker.
extern "C" const char __executable_start;
extern "C" const char etext;
extern char** environ;

namespace liveexec {
namespace {

constexpr int kFatalSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
constexpr size_t kHandlerStackSize = 64 << 10;
constexpr int kExitStatus = 120;
constexpr char kNotArmed[] =
    "it cannot prepare for its own failure: look at the limits of memory and of fds, and try again";

struct ArmedState {
  volatile sig_atomic_t armed = 0;
  pid_t pid = 0;  // a forked child must not exec the old program
  int channel = -1;
  int old_program = -1;
  FlightRecord* record = nullptr;
  char** arguments = nullptr;    // copies of what this program came with, or that itself;
  char** environment = nullptr;  // prepared for the old program
  char variable[128] = {};       // its LIVEEXEC_CHANNEL
  void* handler_stack = nullptr;
  int timer = -1;  // the kernel's id
  bool committed = false;
  struct sigaction replaced[std::size(kFatalSignals)] = {};
  struct sigaction replaced_deadline = {};
  struct rlimit limits[RLIM_NLIMITS] = {};  // as the old program set them for exec
  volatile sig_atomic_t limits_saved = 0;   // so many of them
};

// Constant-initialized: arming comes before the constructors, and none may wipe it.
constinit ArmedState state;

int DeadlineSignal() { return SIGRTMAX; }

void OnSignal(int number, siginfo_t* info, void* context);

// Unless the application has put its own action in place of ours.
void RestoreAction(int number, const struct sigaction& replaced) {
  struct sigaction now;
  if (sigaction(number, nullptr, &now) == 0 && now.sa_sigaction == OnSignal) {
    sigaction(number, &replaced, nullptr);
  }
}

bool IsArmedHere() { return state.armed != 0 && getpid() == state.pid; }

// What the new program lowered must not follow the old one.
void RestoreLimits() {
  for (int resource = 0; resource < state.limits_saved; ++resource) {
    setrlimit(static_cast<__rlimit_resource_t>(resource), &state.limits[resource]);
  }
}

void SaveLimits() {
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
    getrlimit(static_cast<__rlimit_resource_t>(resource), &state.limits[resource]);
    state.limits_saved = resource + 1;
  }
}

// The point of no return of a rollback. All signals stay blocked across the exec: one that arrives
// in the middle must wait for the old program, not kill the process.
void ExecOldProgram() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  if (state.record != nullptr) state.record->rollback_start_ns = MonotonicNs();
  syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  fcntl(state.channel, F_SETFD, 0);
  RestoreLimits();
  syscall(SYS_execveat, state.old_program, "", state.arguments, state.environment, AT_EMPTY_PATH);
  _exit(kExitStatus);
}

void NoteFailureOnce(FailureKind kind) {
  if (state.record == nullptr || state.record->failure_kind != 0) return;
  state.record->failure_kind = static_cast<uint32_t>(kind);
}

uint64_t InstructionOffset(const void* context) {
  const auto* machine = &static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  auto instruction = static_cast<uint64_t>(machine->gregs[REG_RIP]);
#elif defined(__aarch64__)
  auto instruction = static_cast<uint64_t>(machine->pc);
#else
  (void)machine;
  return 0;
#endif
  // In a library it says nothing about the program.
  auto start = reinterpret_cast<uint64_t>(&__executable_start);
  auto end = reinterpret_cast<uint64_t>(&etext);
  return instruction > start && instruction < end ? instruction - start : 0;
}

void OnSignal(int number, siginfo_t* info, void* context) {
  if (!IsArmedHere()) {
    // A child that the application forked: let it die of the signal.
    signal(number, SIG_DFL);
    raise(number);
    return;
  }
  FlightRecord* record = state.record;
  if (number == DeadlineSignal()) {
    NoteFailureOnce(FailureKind::kDeadline);
  } else {
    NoteFailureOnce(FailureKind::kSignal);
    record->signal = number;
    record->signal_code = info->si_code;
    record->address = reinterpret_cast<uint64_t>(info->si_addr);
    record->instruction = InstructionOffset(context);
  }
  ExecOldProgram();
}

void OnExit() {
  if (!IsArmedHere()) return;
  NoteFailureOnce(FailureKind::kExit);
  ExecOldProgram();
}

void NoteMessage(const char* text) {
  if (state.record == nullptr) return;
  strncpy(state.record->message, text, sizeof(state.record->message) - 1);
}

void OnTerminate() {
  if (IsArmedHere()) {
    if (std::exception_ptr exception = std::current_exception()) {
      try {
        std::rethrow_exception(exception);
      } catch (const std::exception& caught) {
        NoteMessage(caught.what());
      } catch (...) {
        NoteMessage("an uncaught exception that is not a std::exception");
      }
    }
  }
  abort();
}

// The first batch, peeked without anything that allocates.
bool PeekBootstrap(int channel, int (&fds)[kBootstrapFdCount]) {
  int offset = 0;
  if (setsockopt(channel, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) != 0) return false;
  char byte;
  struct iovec data = {&byte, 1};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fds))];
  struct msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (recvmsg(channel, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1) return false;
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return false;
  if (header->cmsg_len != CMSG_LEN(sizeof(fds))) return false;
  memcpy(fds, CMSG_DATA(header), sizeof(fds));
  return true;
}

void* MapPages(size_t size, int fd) {
  int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  return pages == MAP_FAILED ? nullptr : pages;
}

// A copy of `strings` with `last` behind them, unless it is null. What the kernel laid out is the
// application's: it edits its arguments, and writes its title over them. Null: no memory.
char** CopyStrings(char** strings, char* last) {
  size_t count = 0, bytes = 0;
  for (; strings[count] != nullptr; ++count) bytes += strlen(strings[count]) + 1;
  const size_t pointers = (count + 2) * sizeof(char*);
  auto* pages = static_cast<char*>(MapPages(pointers + bytes, -1));
  if (pages == nullptr) return nullptr;
  auto** copy = reinterpret_cast<char**>(pages);
  char* text = pages + pointers;
  for (size_t i = 0; i < count; ++i) {
    const size_t size = strlen(strings[i]) + 1;
    memcpy(text, strings[i], size);
    copy[i] = text;
    text += size;
  }
  copy[count] = last;
  copy[count + 1] = nullptr;
  return copy;
}

bool InstallHandlers() {
  state.handler_stack = MapPages(kHandlerStackSize, -1);
  if (state.handler_stack == nullptr) return false;
  stack_t stack = {};
  stack.ss_sp = state.handler_stack;
  stack.ss_size = kHandlerStackSize;
  if (sigaltstack(&stack, nullptr) != 0) return false;
  struct sigaction action = {};
  action.sa_sigaction = OnSignal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  sigset_t unblock;
  sigemptyset(&unblock);
  for (size_t i = 0; i < std::size(kFatalSignals); ++i) {
    if (sigaction(kFatalSignals[i], &action, &state.replaced[i]) != 0) return false;
    sigaddset(&unblock, kFatalSignals[i]);
  }
  if (sigaction(DeadlineSignal(), &action, &state.replaced_deadline) != 0) return false;
  sigaddset(&unblock, DeadlineSignal());
  // exec left everything blocked, and a fault whose signal is blocked kills without a handler.
  sigprocmask(SIG_UNBLOCK, &unblock, nullptr);
  return true;
}

// A POSIX timer: exec destroys it, so it cannot fire into another program.
void StartDeadline(int64_t deadline_ns) {
  if (deadline_ns <= 0) return;
  struct sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = DeadlineSignal();
  // The kernel's own call: libc's needs a libc that is further than it is now.
  if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &state.timer) != 0) return;
  struct itimerspec when = {};
  when.it_value.tv_sec = deadline_ns / 1'000'000'000;
  when.it_value.tv_nsec = deadline_ns % 1'000'000'000;
  syscall(SYS_timer_settime, state.timer, 0, &when, nullptr);
}

// What there is to go back to, which is peeked at most once. False: it cannot be had.
bool LearnWayBack() {
  if (state.old_program >= 0) return true;
  int fds[kBootstrapFdCount];
  if (!PeekBootstrap(state.channel, fds)) return false;
  close(fds[kManifestFd]);  // The receiver peeks again.
  void* page = MapPages(sizeof(FlightRecord), fds[kRecorderFd]);
  close(fds[kRecorderFd]);
  auto* record = static_cast<FlightRecord*>(page);
  if (record != nullptr && record->magic == FlightRecord::kMagic) {
    state.record = record;
    record->phase = static_cast<uint32_t>(Phase::kReceiving);
    record->phase_start_ns[static_cast<size_t>(Phase::kReceiving)] = MonotonicNs();
  }
  state.old_program = fds[kOldProgramFd];
  return true;
}

// Copies, as the application edits what the kernel laid out. Without memory for them there is that,
// in which the place of the variable that was taken out is free.
void KeepArguments(char** arguments, char** environment) {
  state.arguments = CopyStrings(arguments, nullptr);
  if (state.arguments == nullptr) state.arguments = arguments;
  state.environment = CopyStrings(environment, state.variable);
  if (state.environment != nullptr) return;
  state.environment = environment;
  while (*environment != nullptr) ++environment;
  *environment = state.variable;
}

void Arm(char** arguments, char** environment) {
  TakeInheritance(environment);
  const Inheritance& inheritance = ProcessInheritance();
  // A rehearsal ends with the thread that waits for it.
  if (inheritance.mode == StartMode::kRehearsal) prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (inheritance.mode != StartMode::kUpgrade) return;
  state.pid = getpid();
  state.channel = inheritance.channel;
  Inheritance announced = inheritance;
  announced.mode = StartMode::kRollback;
  strncpy(state.variable, ChannelVariable(announced).c_str(), sizeof(state.variable) - 1);
  KeepArguments(arguments, environment);
  if (!LearnWayBack()) return;  // Without one it does not go on: UpgraderImpl::Start.
  if (state.record == nullptr) ExecOldProgram();
  FlightRecord* record = state.record;
  if (!InstallHandlers()) {
    strcpy(record->code, "E_GUARD");
    NoteMessage(kNotArmed);
    NoteFailureOnce(FailureKind::kStatus);
    ExecOldProgram();
  }
  state.armed = 1;
  StartDeadline(record->rehydrate_deadline_ns);
  SaveLimits();
  std::set_terminate(OnTerminate);
  atexit(OnExit);
  at_quick_exit(OnExit);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIVEEXEC_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LIVEEXEC_SANITIZED 1
#endif
#endif

#ifdef LIVEEXEC_SANITIZED
// A sanitizer's runtime starts in a library's constructor; nothing instrumented may run before it.
__attribute__((constructor(101))) void ArmInConstructor(int, char** arguments, char** environment) {
  Arm(arguments, environment);
}
#else
// Before the constructors of this program and of every library that it loads.
void ArmBeforeEverything(int, char** arguments, char** environment) { Arm(arguments, environment); }
__attribute__((section(".preinit_array"),
               used)) void (*const arm_before_everything)(int, char**,
                                                          char**) = ArmBeforeEverything;
#endif

}  // namespace

bool RollbackArmed() { return state.armed != 0; }

FlightRecord* RollbackRecord() { return state.record; }

void RollBack(const absl::Status& reason) {
  if (state.committed || getpid() != state.pid || !LearnWayBack()) return;
  NoteMessage(std::string(reason.message()).c_str());
  if (state.record != nullptr) {
    strncpy(state.record->code, CodeOf(reason).c_str(), sizeof(state.record->code) - 1);
  }
  NoteFailureOnce(FailureKind::kStatus);
  ExecOldProgram();
}

absl::Status CheckRollbackArmed() {
  const bool needed = ProcessInheritance().mode == StartMode::kUpgrade;
  if (!needed || RollbackArmed()) return absl::OkStatus();
  return CodedError("E_GUARD", absl::StatusCode::kUnavailable, kNotArmed);
}

void DisarmRollback() {
  if (state.armed == 0) return;
  state.committed = true;
  state.record->commit_started = 1;
  state.armed = 0;
  if (state.timer >= 0) syscall(SYS_timer_delete, state.timer);
  for (size_t i = 0; i < std::size(kFatalSignals); ++i) {
    RestoreAction(kFatalSignals[i], state.replaced[i]);
  }
  RestoreAction(DeadlineSignal(), state.replaced_deadline);
  stack_t stack;
  if (sigaltstack(nullptr, &stack) == 0 && stack.ss_sp == state.handler_stack) {
    stack_t none = {};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
  }
  munmap(state.handler_stack, kHandlerStackSize);
  close(state.old_program);
  munmap(state.record, sizeof(FlightRecord));
  state.record = nullptr;
}

}  // namespace liveexec
