#include "core/process_traits.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "core/error.h"
#include "core/unique_fd.h"

extern char** environ;

namespace liveexec {
namespace {

constexpr int kRlimits[] = {
    RLIMIT_AS,     RLIMIT_CORE,     RLIMIT_CPU,    RLIMIT_DATA,       RLIMIT_FSIZE, RLIMIT_MEMLOCK,
    RLIMIT_NICE,   RLIMIT_MSGQUEUE, RLIMIT_NOFILE, RLIMIT_NPROC,      RLIMIT_RSS,   RLIMIT_RTPRIO,
    RLIMIT_RTTIME, RLIMIT_STACK,    RLIMIT_LOCKS,  RLIMIT_SIGPENDING,
};

absl::StatusOr<std::vector<std::string>> ReadArguments(Syscalls& syscalls) {
  UniqueFd fd(syscalls.Open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoError(-fd.get(), "open /proc/self/cmdline");
  std::string text;
  char buffer[4096];
  while (true) {
    int64_t count =
        syscalls.Pread(fd.get(), buffer, sizeof(buffer), static_cast<int64_t>(text.size()));
    if (count < 0) return ErrnoError(static_cast<int>(-count), "read /proc/self/cmdline");
    if (count == 0) break;
    text.append(buffer, static_cast<size_t>(count));
  }
  if (!text.empty() && text.back() == '\0') text.pop_back();
  return std::vector<std::string>(absl::StrSplit(text, '\0'));
}

uint64_t IgnoredSignals() {
  uint64_t bits = 0;
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action;
    if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) {
      bits |= uint64_t{1} << (number - 1);
    }
  }
  return bits;
}

bool Matches(std::string_view name, std::string_view pattern) {
  if (!pattern.empty() && pattern.back() == '*') {
    return name.starts_with(pattern.substr(0, pattern.size() - 1));
  }
  return name == pattern;
}

}  // namespace

absl::StatusOr<ProcessTraits> ProcessTraits::Capture(Syscalls& syscalls) {
  ProcessTraits traits;
  LIVEEXEC_ASSIGN_OR_RETURN(traits.arguments, ReadArguments(syscalls));
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    traits.environment.emplace_back(*entry);
  }
  char name[16] = {};
  if (int result = syscalls.Prctl(PR_GET_NAME, reinterpret_cast<uint64_t>(name)); result < 0) {
    return ErrnoError(-result, "read the process's name");
  }
  traits.command_name = name;
  sigset_t mask;
  if (int result = syscalls.Sigprocmask(SIG_BLOCK, nullptr, &mask); result < 0) {
    return ErrnoError(-result, "read the signal mask");
  }
  traits.blocked_signals = SignalBits(mask);
  traits.ignored_signals = IgnoredSignals();
  for (int resource : kRlimits) {
    struct rlimit limit;
    if (syscalls.Getrlimit(resource, &limit) < 0) continue;
    traits.rlimits.push_back({resource, limit.rlim_cur, limit.rlim_max});
  }
  traits.dumpable = syscalls.Prctl(PR_GET_DUMPABLE, 0) == 1;
  return traits;
}

uint64_t SignalBits(const sigset_t& set) {
  uint64_t bits = 0;
  for (int number = 1; number < NSIG; ++number) {
    if (::sigismember(&set, number) == 1) bits |= uint64_t{1} << (number - 1);
  }
  return bits;
}

sigset_t SignalSet(uint64_t bits) {
  sigset_t set;
  ::sigemptyset(&set);
  for (int number = 1; number < NSIG; ++number) {
    if ((bits >> (number - 1)) & 1) ::sigaddset(&set, number);
  }
  return set;
}

std::vector<RlimitValue> ResetRlimits(Syscalls& syscalls, const ProcessTraits& traits) {
  std::vector<RlimitValue> changed;
  for (const RlimitValue& at_boot : traits.rlimits) {
    struct rlimit now;
    if (syscalls.Getrlimit(at_boot.resource, &now) < 0) continue;
    rlim_t soft = std::min<rlim_t>(at_boot.soft, now.rlim_max);
    if (at_boot.resource == RLIMIT_NOFILE) soft = std::max(soft, now.rlim_cur);
    if (soft == now.rlim_cur) continue;
    struct rlimit wanted = {soft, now.rlim_max};
    if (syscalls.Setrlimit(at_boot.resource, &wanted) < 0) continue;
    changed.push_back({at_boot.resource, now.rlim_cur, now.rlim_max});
  }
  return changed;
}

void RestoreRlimits(Syscalls& syscalls, absl::Span<const RlimitValue> limits) {
  for (const RlimitValue& limit : limits) {
    struct rlimit value = {limit.soft, limit.hard};
    syscalls.Setrlimit(limit.resource, &value);
  }
}

std::vector<std::string> FilterEnvironment(absl::Span<const std::string> environment,
                                           absl::Span<const std::string> allowed) {
  std::vector<std::string> kept;
  for (const std::string& entry : environment) {
    std::string_view name = std::string_view(entry).substr(0, entry.find('='));
    if (name.starts_with("LD_") || name == "LIVEEXEC_CHANNEL") continue;
    bool passes = std::any_of(allowed.begin(), allowed.end(),
                              [&](const std::string& pattern) { return Matches(name, pattern); });
    if (passes) kept.push_back(entry);
  }
  return kept;
}

absl::Span<const std::string> DefaultAllowedEnvironment() {
  static const auto* const names = new std::vector<std::string>{
      "PATH",           "HOME",
      "USER",           "LOGNAME",
      "SHELL",          "PWD",
      "LANG",           "LANGUAGE",
      "LC_*",           "TZ",
      "TERM",           "COLORTERM",
      "NO_COLOR",       "TMPDIR",
      "XDG_*",          "ASAN_OPTIONS",
      "LSAN_OPTIONS",   "TSAN_OPTIONS",
      "UBSAN_OPTIONS",  "NOTIFY_SOCKET",
      "WATCHDOG_*",     "INVOCATION_ID",
      "JOURNAL_STREAM", "LIVEEXEC_*",
      "MALLOC_*",       "GLIBC_TUNABLES",
      "UV_*",
  };
  return *names;
}

}  // namespace liveexec
