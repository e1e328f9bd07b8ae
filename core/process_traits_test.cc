#include "core/process_traits.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "core/testing/faulty_syscalls.h"
#include "core/testing/in_child.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string SetSoft(int resource, rlim_t soft) {
  struct rlimit limit;
  if (getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) return "getrlimit";
  limit.rlim_cur = soft;
  return setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) == 0 ? "" : "setrlimit";
}

rlim_t Soft(int resource) {
  struct rlimit limit = {};
  getrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
  return limit.rlim_cur;
}

TEST(FilterEnvironment, PassesWhatAPatternNames) {
  struct Row {
    const char* entry;
    const char* pattern;
    bool passes;
  };
  const Row table[] = {
      {"PATH=/bin", "PATH", true},
      {"PATH=/bin", "PAT", false},
      {"PATH=/bin", "PATHS", false},
      {"PATH=/bin", "path", false},
      {"PATH=/bin", "PAT*", true},
      {"PATH=/bin", "PATH*", true},
      {"PATH=/bin", "PATHS*", false},
      {"PATH=/bin", "*", true},
      {"PATH=", "PATH", true},
      {"A=b=c", "A", true},
      {"A=b=c", "A=b", false},
      {"BARE", "BARE", true},
      {"LD_PRELOAD=/x.so", "LD_PRELOAD", false},
      {"LD_LIBRARY_PATH=/x", "*", false},
      {"LD_X=1", "LD_*", false},
      {"LDFLAGS=1", "LD*", true},
      {"LIVEEXEC_CHANNEL=3:upgrade:00", "LIVEEXEC_CHANNEL", false},
      {"LIVEEXEC_CHANNEL=3:upgrade:00", "LIVEEXEC_*", false},
      {"LIVEEXEC_CHANNELS=3", "LIVEEXEC_*", true},
  };
  for (const Row& row : table) {
    auto kept = FilterEnvironment({row.entry}, {row.pattern});
    EXPECT_EQ(!kept.empty(), row.passes) << row.entry << " by " << row.pattern;
    if (row.passes) {
      EXPECT_THAT(kept, ElementsAre(row.entry));
    }
  }
  EXPECT_THAT(FilterEnvironment({"A=1"}, {}), IsEmpty());
  EXPECT_THAT(FilterEnvironment({}, {"*"}), IsEmpty());
}

TEST(FilterEnvironment, KeepsTheOrderAndEveryMatch) {
  EXPECT_THAT(FilterEnvironment({"B=1", "X=2", "A=3", "B=4"}, {"A", "B"}),
              ElementsAre("B=1", "A=3", "B=4"));
}

TEST(DefaultAllowedEnvironment, HasWhatServersNeedAndNoLoaderVariables) {
  auto allowed = DefaultAllowedEnvironment();
  for (const char* entry : {"PATH=/bin", "HOME=/", "LC_ALL=C", "TZ=UTC", "TMPDIR=/tmp",
                            "ASAN_OPTIONS=a=b", "NOTIFY_SOCKET=/x", "WATCHDOG_USEC=1"}) {
    EXPECT_THAT(FilterEnvironment({entry}, allowed), ElementsAre(entry));
  }
  for (const char* entry : {"LD_PRELOAD=x", "LIVEEXEC_CHANNEL=3:upgrade:0", "MY_SECRET=1"}) {
    EXPECT_THAT(FilterEnvironment({entry}, allowed), IsEmpty()) << entry;
  }
}

TEST(SignalBits, BitNMinusOneIsSignalN) {
  sigset_t set;
  sigemptyset(&set);
  EXPECT_EQ(SignalBits(set), 0u);
  sigaddset(&set, SIGHUP);    // 1
  sigaddset(&set, SIGTERM);   // 15
  sigaddset(&set, SIGRTMAX);  // 64
  EXPECT_EQ(SignalBits(set), (uint64_t{1} << 0) | (uint64_t{1} << 14) | (uint64_t{1} << 63));
  EXPECT_EQ(SignalBits(SignalSet(SignalBits(set))), SignalBits(set));
}

TEST(ProcessTraits, CaptureTellsWhatTheProcessIs) {
  EXPECT_EQ(InChild([]() -> std::string {
              prctl(PR_SET_NAME, "fifteen-bytes-x");
              prctl(PR_SET_DUMPABLE, 0);
              setenv("LIVEEXEC_TEST", "some value", 1);
              signal(SIGUSR2, SIG_IGN);
              sigset_t mask;
              sigemptyset(&mask);
              sigaddset(&mask, SIGUSR1);
              sigprocmask(SIG_SETMASK, &mask, nullptr);
              auto traits = ProcessTraits::Capture(Syscalls::Kernel());
              if (!traits.ok()) return std::string(traits.status().ToString());
              if (traits->arguments.empty() ||
                  traits->arguments[0].find("process_traits_test") == std::string::npos) {
                return "arguments";
              }
              if (traits->command_name != "fifteen-bytes-x") return traits->command_name;
              if (traits->dumpable) return "dumpable";
              const auto& environment = traits->environment;
              if (std::find(environment.begin(), environment.end(), "LIVEEXEC_TEST=some value") ==
                  environment.end()) {
                return "environment";
              }
              if (traits->blocked_signals != uint64_t{1} << (SIGUSR1 - 1)) return "mask";
              if (((traits->ignored_signals >> (SIGUSR2 - 1)) & 1) == 0) return "ignored";
              if (((traits->ignored_signals >> (SIGUSR1 - 1)) & 1) != 0) return "not ignored";
              for (const RlimitValue& limit : traits->rlimits) {
                if (limit.soft != Soft(limit.resource)) return "rlimit";
              }
              return traits->rlimits.size() < 10 ? "too few rlimits" : "";
            }),
            "");
}

TEST(ResetRlimits, GoesBackToWhatWasAtBootAndRestoreUndoesIt) {
  EXPECT_EQ(InChild([]() -> std::string {
              Syscalls& kernel = Syscalls::Kernel();
              if (!SetSoft(RLIMIT_STACK, 4 << 20).empty()) return "setrlimit";
              auto traits = ProcessTraits::Capture(kernel);
              if (!SetSoft(RLIMIT_STACK, 2 << 20).empty()) return "setrlimit";
              if (!SetSoft(RLIMIT_CORE, 0).empty()) return "setrlimit";
              rlim_t core_at_boot = 0;
              for (const RlimitValue& limit : traits->rlimits) {
                if (limit.resource == RLIMIT_CORE) core_at_boot = limit.soft;
              }
              auto changed = ResetRlimits(kernel, *traits);
              if (Soft(RLIMIT_STACK) != 4 << 20) return "the stack's limit was not reset";
              if (Soft(RLIMIT_CORE) != core_at_boot) return "the core limit was not reset";
              RestoreRlimits(kernel, changed);
              if (Soft(RLIMIT_STACK) != 2 << 20) return "the stack's limit was not restored";
              if (Soft(RLIMIT_CORE) != 0) return "the core limit was not restored";
              return "";
            }),
            "");
}

TEST(ResetRlimits, NeverLowersTheNumberOfOpenFiles) {
  EXPECT_EQ(InChild([]() -> std::string {
              Syscalls& kernel = Syscalls::Kernel();
              if (!SetSoft(RLIMIT_NOFILE, 100).empty()) return "setrlimit";
              auto traits = ProcessTraits::Capture(kernel);
              if (!SetSoft(RLIMIT_NOFILE, 200).empty()) return "setrlimit";
              auto changed = ResetRlimits(kernel, *traits);
              if (Soft(RLIMIT_NOFILE) != 200) return "it was lowered";
              if (!SetSoft(RLIMIT_NOFILE, 50).empty()) return "setrlimit";
              changed = ResetRlimits(kernel, *traits);
              return Soft(RLIMIT_NOFILE) == 100 ? "" : "it was not raised again";
            }),
            "");
}

TEST(ResetRlimits, AHardLimitThatCameDownBoundsTheSoftOne) {
  EXPECT_EQ(InChild([]() -> std::string {
              Syscalls& kernel = Syscalls::Kernel();
              if (!SetSoft(RLIMIT_STACK, 4 << 20).empty()) return "setrlimit";
              auto traits = ProcessTraits::Capture(kernel);
              struct rlimit lower = {1 << 20, 2 << 20};
              if (setrlimit(RLIMIT_STACK, &lower) != 0) return "setrlimit";
              ResetRlimits(kernel, *traits);
              return Soft(RLIMIT_STACK) == 2 << 20 ? "" : "not at the hard limit";
            }),
            "");
}

TEST(ResetRlimits, ReportsOnlyTheLimitsThatItChanged) {
  Syscalls& kernel = Syscalls::Kernel();
  auto traits = ProcessTraits::Capture(kernel);
  ASSERT_TRUE(traits.ok());
  EXPECT_THAT(ResetRlimits(kernel, *traits), IsEmpty());
  // One that cannot be set is left alone, and not restored either.
  FaultySyscalls syscalls;
  syscalls.Fail("Setrlimit", 1, EPERM, Times::kFromThenOn);
  ProcessTraits other = *traits;
  for (RlimitValue& limit : other.rlimits) {
    if (limit.resource == RLIMIT_CORE) limit.soft = limit.soft == 0 ? limit.hard : 0;
  }
  EXPECT_THAT(ResetRlimits(syscalls, other), IsEmpty());
}

}  // namespace
}  // namespace liveexec
