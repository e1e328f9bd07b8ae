// ProcessTraits: what a program inherits from the one that exec'd it, besides fds.
//
// Taken once, at start-up, before the application changes any of it; put back before exec, so that
// the next program starts from what a fresh start would see and nothing drifts over many upgrades.
#ifndef LIVEEXEC_CORE_PROCESS_TRAITS_H_
#define LIVEEXEC_CORE_PROCESS_TRAITS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/syscalls.h"

namespace liveexec {

struct RlimitValue {
  int resource = 0;  // RLIMIT_...
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct ProcessTraits {
  std::vector<std::string> arguments;    // argv
  std::vector<std::string> environment;  // "NAME=value"
  std::string command_name;              // PR_GET_NAME: at most 15 bytes
  uint64_t blocked_signals = 0;          // bit n-1 is signal n, as in /proc/PID/status
  uint64_t ignored_signals = 0;
  std::vector<RlimitValue> rlimits;
  bool dumpable = true;  // PR_GET_DUMPABLE

  // Reads them from this process. Call it on the main thread.
  static absl::StatusOr<ProcessTraits> Capture(Syscalls& syscalls);
};

// The mask in the form above.
uint64_t SignalBits(const sigset_t& set);
sigset_t SignalSet(uint64_t bits);

// Sets soft limits back to `traits`, except that RLIMIT_NOFILE is never lowered: the fds that are
// open now must fit into the next program too. Returns the limits that it changed, for
// RestoreRlimits.
std::vector<RlimitValue> ResetRlimits(Syscalls& syscalls, const ProcessTraits& traits);
void RestoreRlimits(Syscalls& syscalls, absl::Span<const RlimitValue> limits);

// The variables of `environment` that one of `allowed` names. A pattern is a name, or a prefix that
// ends in '*'. Loader variables (LD_*) and LIVEEXEC_CHANNEL never pass.
std::vector<std::string> FilterEnvironment(absl::Span<const std::string> environment,
                                           absl::Span<const std::string> allowed);

// What a server's environment usually needs: PATH, HOME, locale, time zone, temporary directories,
// sanitizer options, systemd's notification variables.
absl::Span<const std::string> DefaultAllowedEnvironment();

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_PROCESS_TRAITS_H_
