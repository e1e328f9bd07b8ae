#include "handoff/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/testing/faulty_syscalls.h"
#include "core/testing/in_child.h"
#include "core/testing/open_files.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

// What a failed exec must leave as it was.
struct Condition {
  uint64_t mask = 0;
  rlim_t stack_limit = 0;
  std::vector<int> fd_flags;

  bool operator==(const Condition&) const = default;
};

// A process that tries to become something that cannot be exec'd. Only in a child: it changes the
// process.
class Attempted {
 public:
  Attempted() {
    traits_ = *ProcessTraits::Capture(Syscalls::Kernel());
    SetStackLimit(4 << 20);  // Not as at boot any more.
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_SETMASK, &mask, nullptr);
    launch_.program = directory_.get();
    launch_.channel = channel_.get();
    launch_.traits = &traits_;
    launch_.inheritable = {inheritable_.get()};
  }

  Condition Now() const {
    Condition now;
    sigset_t mask;
    sigprocmask(SIG_BLOCK, nullptr, &mask);
    now.mask = SignalBits(mask);
    struct rlimit limit;
    getrlimit(RLIMIT_STACK, &limit);
    now.stack_limit = limit.rlim_cur;
    for (int fd : {channel_.get(), inheritable_.get(), kept_.get()}) {
      now.fd_flags.push_back(fcntl(fd, F_GETFD));
    }
    return now;
  }

  static void SetStackLimit(rlim_t soft) {
    struct rlimit limit;
    getrlimit(RLIMIT_STACK, &limit);
    limit.rlim_cur = soft;
    setrlimit(RLIMIT_STACK, &limit);
  }

  const Launch& launch() const { return launch_; }
  const ProcessTraits& traits() const { return traits_; }
  int channel() const { return channel_.get(); }

 private:
  ProcessTraits traits_;
  UniqueFd directory_{open("/", O_PATH | O_CLOEXEC)};
  UniqueFd channel_{eventfd(0, EFD_CLOEXEC)};
  UniqueFd inheritable_{eventfd(0, 0)};
  UniqueFd kept_{eventfd(0, EFD_CLOEXEC)};
  Launch launch_;
};

TEST(Execute, WhenTheKernelRefusesEverythingIsAsBefore) {
  EXPECT_EQ(InChild([]() -> std::string {
              Attempted attempted;
              Condition before = attempted.Now();
              absl::Status status = Execute(Syscalls::Kernel(), attempted.launch());
              if (CodeOf(status) != "E_EXEC" || ErrnoOf(status) != EACCES) {
                return std::string(status.ToString());
              }
              return attempted.Now() == before ? "" : "something is not as before";
            }),
            "");
}

TEST(Execute, AfterItsTimeItDoesNotExecAndEverythingIsAsBefore) {
  EXPECT_EQ(InChild([]() -> std::string {
              Attempted attempted;
              Condition before = attempted.Now();
              FaultySyscalls syscalls;
              bool called = false;
              syscalls.Observe([&](std::string_view name) { called |= name == "Execveat"; });
              Launch launch = attempted.launch();
              launch.latest_ns = 1;
              absl::Status status = Execute(syscalls, launch);
              if (CodeOf(status) != "E_TIMEOUT") return std::string(status.ToString());
              if (called) return "execveat was called";
              return attempted.Now() == before ? "" : "something is not as before";
            }),
            "");
}

TEST(Execute, InTheMomentOfTheExecSignalsLimitsAndFdsAreRight) {
  EXPECT_EQ(InChild([]() -> std::string {
              Attempted attempted;
              FaultySyscalls syscalls;
              std::string wrong = "execveat was not called";
              syscalls.Observe([&](std::string_view name) {
                if (name != "Execveat") return;
                wrong = "";
                // Signals 32 and 33 are libc's own.
                const uint64_t must = ~(uint64_t{3} << 31 | uint64_t{1} << (SIGKILL - 1) |
                                        uint64_t{1} << (SIGSTOP - 1));
                if ((attempted.Now().mask & must) != must) wrong += "a signal is not blocked; ";
                for (const RlimitValue& limit : attempted.traits().rlimits) {
                  struct rlimit now;
                  getrlimit(static_cast<__rlimit_resource_t>(limit.resource), &now);
                  if (now.rlim_cur != limit.soft) wrong += "a limit is not as at boot; ";
                }
                for (const auto& [fd, target] : OpenFiles()) {
                  bool inherits = (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0;
                  if (inherits != (fd <= 2 || fd == attempted.channel())) {
                    wrong += std::to_string(fd) + " " + target + "; ";
                  }
                }
              });
              Execute(syscalls, attempted.launch()).IgnoreError();
              return wrong;
            }),
            "");
}

TEST(Execute, EveryFailingCallLeavesEverythingAsBefore) {
  EXPECT_EQ(InChild([]() -> std::string {
              Attempted attempted;
              Condition before = attempted.Now();
              std::string wrong;
              int count = ForEachCall(EPERM, Times::kOnce, [&](FaultySyscalls& syscalls) {
                absl::Status status = Execute(syscalls, attempted.launch());
                std::vector<std::string> calls = syscalls.calls();
                if (status.ok()) wrong += "it returned without an error; ";
                // A call that undoes something cannot fail with these arguments; when a test makes
                // it fail, what it was to undo is left. Those follow the exec.
                Condition now = attempted.Now();
                if (now == before) return;
                bool exec_was_tried = syscalls.count("Execveat") + syscalls.count("CloseRange") > 0;
                if (!exec_was_tried) wrong += "not as before after " + calls.back() + "; ";
                // Put right for the next one.
                sigset_t mask = SignalSet(before.mask);
                sigprocmask(SIG_SETMASK, &mask, nullptr);
                Attempted::SetStackLimit(before.stack_limit);
                fcntl(attempted.launch().inheritable[0], F_SETFD, 0);
                fcntl(attempted.channel(), F_SETFD, FD_CLOEXEC);
              });
              if (count < 10) return "too few calls";
              return wrong;
            }),
            "");
}

TEST(Execute, AFailureBeforeTheExecIsAnErrorOfItsOwn) {
  struct Row {
    const char* call;
    int nth;
    bool exec_is_called;
  };
  const Row table[] = {{"CloseRange", 1, false}, {"Fcntl", 1, false}, {"Execveat", 1, true}};
  for (const Row& row : table) {
    EXPECT_EQ(InChild([&]() -> std::string {
                Attempted attempted;
                Condition before = attempted.Now();
                FaultySyscalls syscalls;
                syscalls.Fail(row.call, row.nth, ENOMEM);
                absl::Status status = Execute(syscalls, attempted.launch());
                if (CodeOf(status) != "E_EXEC" || ErrnoOf(status) != ENOMEM) {
                  return std::string(status.ToString());
                }
                if ((syscalls.count("Execveat") > 0) != row.exec_is_called) return "exec";
                return attempted.Now() == before ? "" : "something is not as before";
              }),
              "")
        << row.call;
  }
}

TEST(Execute, APendingSigtermOrSigintCancelsIt) {
  for (int number : {SIGTERM, SIGINT}) {
    EXPECT_EQ(InChild([&]() -> std::string {
                Attempted attempted;
                sigset_t mask;
                sigemptyset(&mask);
                sigaddset(&mask, number);
                sigprocmask(SIG_BLOCK, &mask, nullptr);
                kill(getpid(), number);
                Condition before = attempted.Now();
                FaultySyscalls syscalls;
                absl::Status status = Execute(syscalls, attempted.launch());
                if (CodeOf(status) != "E_CANCELLED") return std::string(status.ToString());
                if (syscalls.count("Execveat") != 0) return "it went on";
                sigset_t pending;
                sigpending(&pending);
                if (sigismember(&pending, number) != 1) return "the signal is lost";
                return attempted.Now() == before ? "" : "something is not as before";
              }),
              "");
  }
}

TEST(Execute, ASigtermThatArrivesUnblockedTakesItsCourseAfterwards) {
  EXPECT_EQ(InChild([]() -> std::string {
              Attempted attempted;
              FaultySyscalls syscalls;
              // It arrives when all is blocked already.
              syscalls.Observe([](std::string_view name) {
                if (name == "Sigpending") kill(getpid(), SIGTERM);
              });
              Execute(syscalls, attempted.launch()).IgnoreError();
              return "the old program did not end";
            }),
            "died of signal 15");
}

TEST(Execute, OtherPendingSignalsDoNotCancelIt) {
  EXPECT_EQ(InChild([]() -> std::string {
              Attempted attempted;
              kill(getpid(), SIGUSR1);  // Blocked.
              absl::Status status = Execute(Syscalls::Kernel(), attempted.launch());
              return CodeOf(status) == "E_EXEC" ? "" : std::string(status.ToString());
            }),
            "");
}

TEST(Execute, TheNewProgramGetsArgumentsEnvironmentAndTheChannelsAnnouncement) {
  // Becomes a shell that looks around.
  EXPECT_EQ(InChild([]() -> std::string {
              int result_pipe[2];
              if (pipe2(result_pipe, O_CLOEXEC) != 0) return "pipe2";
              std::string told = InChild([&]() -> std::string {
                Attempted attempted;
                UniqueFd shell(open("/bin/sh", O_PATH | O_CLOEXEC));
                ProcessTraits traits = attempted.traits();
                traits.arguments = {"sh", "-c",
                                    "exec 1>&2; echo $A $0; echo $LIVEEXEC_CHANNEL; "
                                    "ls /proc/$$/fd",
                                    "an argument"};
                Launch launch = attempted.launch();
                launch.program = shell.get();
                launch.traits = &traits;
                launch.environment = {"A=value of a", "PATH=/usr/bin:/bin"};
                launch.nonce = {0xab};
                dup2(result_pipe[1], 2);
                return std::string(Execute(Syscalls::Kernel(), launch).ToString());
              });
              close(result_pipe[1]);
              char text[512] = {};
              ssize_t count = read(result_pipe[0], text, sizeof(text) - 1);
              if (!told.empty()) return told;
              std::string lines(text, static_cast<size_t>(std::max<ssize_t>(count, 0)));
              if (lines.find("value of a an argument\n") != 0) return "arguments: " + lines;
              if (lines.find(":upgrade:ab000000000000000000000000000000\n") == std::string::npos) {
                return "announcement: " + lines;
              }
              // Of all fds, stdio and the channel.
              std::string channel = lines.substr(lines.find('\n') + 1);
              channel = channel.substr(0, channel.find(':'));
              return lines.ends_with("\n0\n1\n2\n" + channel + "\n") ? "" : "fds: " + lines;
            }),
            "");
}

}  // namespace
}  // namespace liveexec
