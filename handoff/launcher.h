// The launcher: the exec itself, and everything that must be right in the moment of it.
#ifndef LIVEEXEC_HANDOFF_LAUNCHER_H_
#define LIVEEXEC_HANDOFF_LAUNCHER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/process_traits.h"
#include "core/syscalls.h"
#include "handoff/image_file.h"
#include "handoff/inheritance.h"

namespace liveexec {

struct Launch {
  int program = -1;  // O_PATH, borrowed
  int channel = -1;  // the receiving end, borrowed
  StartMode mode = StartMode::kUpgrade;
  Nonce nonce = {};
  const ProcessTraits* traits = nullptr;  // as at boot
  std::vector<std::string> environment;   // filtered
  std::vector<int> inheritable;           // fds that are not CLOEXEC: so again after a failure
  int64_t latest_ns = 0;  // CLOCK_MONOTONIC; later than that it does not exec. 0: no limit
};

// Becomes `launch.program`. Blocks all signals, puts rlimits back, makes every fd CLOEXEC but stdio
// and the channel. Returns only when that failed, with everything undone: E_CANCELLED when SIGTERM
// or SIGINT is pending, which then takes its course in this program; E_TIMEOUT after `latest_ns`;
// E_TXTBSY when somebody has it open for writing; E_EXEC with the errno when the kernel refused
// otherwise (ENOENT, ENOEXEC, E2BIG, EAGAIN, ...). Call it on the main thread.
absl::Status Execute(Syscalls& syscalls, const Launch& launch);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_LAUNCHER_H_
