#include "handoff/custodian.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/fd_channel.h"
#include "core/pinned_image.h"
#include "core/syscalls.h"
#include "core/testing/open_files.h"
#include "core/unique_fd.h"
#include "gtest/gtest.h"
#include "handoff/flight_recorder.h"

namespace liveexec {
namespace {

class CustodianTest : public ::testing::Test {
 protected:
  CustodianTest()
      : channel_(*CreateFdChannel(Syscalls::Kernel())),
        recorder_(*FlightRecorder::Create(Syscalls::Kernel())),
        own_image_(*PinnedImage::OfThisProcess(Syscalls::Kernel())) {}

  std::unique_ptr<Custodian> Start() {
    auto custodian = Custodian::Start({.channel = channel_.receiver.get(),
                                       .old_program = own_image_.fd(),
                                       .record = recorder_.record(),
                                       .nonce = {},
                                       .arguments = {"test"},
                                       .environment = {}});
    EXPECT_TRUE(custodian.ok()) << custodian.status();
    return *std::move(custodian);
  }
  pid_t pid() { return recorder_.record()->custodian_pid; }

  FdChannelEnds channel_;
  FlightRecorder recorder_;
  PinnedImage own_image_;
};

TEST_F(CustodianTest, GoesWithTheAttemptAndLeavesNothingBehind) {
  auto before = OpenFiles();
  auto custodian = Start();
  const pid_t its_pid = pid();
  ASSERT_GT(its_pid, 0);
  EXPECT_FALSE(CustodianHasEnded(its_pid));
  custodian.reset();
  EXPECT_EQ(pid(), 0);
  EXPECT_TRUE(CustodianHasEnded(its_pid)) << "it has been reaped";
  EXPECT_EQ(OpenFiles(), before);
}

// What /proc/PID/status says under `name`.
std::string StatusOf(pid_t pid, const std::string& name) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name + ":", 0) == 0)
      return line.substr(line.find_first_not_of(" \t", name.size() + 1));
  }
  return "";
}

// A process of its own, as the custodian gives away its parent's memory: it has some, starts the
// custodian, and becomes another program.
class ExecdParent {
 public:
  explicit ExecdParent(const std::function<void()>& start_custodian) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int execd[2];
    if (pipe2(execd, O_CLOEXEC) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      void* memory =
          mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      memset(memory, 1, kMemory);
      sigset_t all;
      sigfillset(&all);
      sigprocmask(SIG_SETMASK, &all, nullptr);
      start_custodian();
      execl("/bin/sleep", "sleep", "1000000", nullptr);
      _exit(1);
    }
    close(execd[1]);
    char none;
    EXPECT_EQ(read(execd[0], &none, 1), 0) << "the end of the pipe is the exec";
    close(execd[0]);
  }
  ~ExecdParent() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    // The custodian is ours now, if it is still there.
    while (waitpid(-1, nullptr, __WALL) > 0) {
    }
  }

  static constexpr size_t kMemory = 256 << 20;

 private:
  pid_t pid_ = -1;
};

// Follows a process that is traced already to its end.
size_t PiecesReturned(pid_t pid) {
  size_t pieces = 0;
  for (int status; waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);) {
    __ptrace_syscall_info call;
    if (WSTOPSIG(status) == (SIGTRAP | 0x80) &&
        ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(call), &call) > 0 &&
        call.op == PTRACE_SYSCALL_INFO_ENTRY && call.entry.nr == SYS_munmap) {
      EXPECT_LE(call.entry.args[1], uint64_t{16 << 20});
      ++pieces;
    }
    ptrace(PTRACE_SYSCALL, pid, nullptr, nullptr);
  }
  return pieces;
}

TEST_F(CustodianTest, KeepsTheMemoryUntilTheCommitAndReturnsItInPieces) {
  ExecdParent parent([this] { (void)Start().release(); });
  ASSERT_GT(pid(), 0);
  const UniqueFd end(static_cast<int>(syscall(SYS_pidfd_open, pid(), 0)));
  ASSERT_TRUE(end);
  ASSERT_EQ(kill(pid(), SIGTERM), 0);
  // Until it has taken note of it.
  while (StatusOf(pid(), "ShdPnd").find_first_not_of('0') != std::string::npos) sched_yield();
  pollfd ended = {end.get(), POLLIN, 0};
  ASSERT_EQ(poll(&ended, 1, 0), 0) << "it has ended";
  EXPECT_GE(std::stoull(StatusOf(pid(), "VmRSS")) << 10, ExecdParent::kMemory);

  ASSERT_EQ(ptrace(PTRACE_SEIZE, pid(), nullptr, PTRACE_O_TRACESYSGOOD), 0);
  ASSERT_EQ(ptrace(PTRACE_INTERRUPT, pid(), nullptr, nullptr), 0);
  recorder_.record()->commit_started = 1;
  DismissCustodian(pid());
  EXPECT_GE(PiecesReturned(pid()), ExecdParent::kMemory / (16 << 20));
}

}  // namespace
}  // namespace liveexec
