// The doctor: what in this process would not survive an upgrade, why, and what to do about it.
#ifndef LIVEEXEC_HANDOFF_DOCTOR_H_
#define LIVEEXEC_HANDOFF_DOCTOR_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "handoff/executor.h"
#include "handoff/program.h"

namespace liveexec {

struct Finding {
  enum class Weight { kNote, kLost, kRefused };
  Weight weight = Weight::kNote;
  std::string what;    // "fd 17, eventfd", "thread 4711 (uv-worker)"
  std::string remark;  // what becomes of it, and what to do
};

// Looks at fds, threads, timers, locks, signal handlers and memory. `caller` as for TakeSnapshot.
absl::StatusOr<std::vector<Finding>> Diagnose(Program& program, Executor* caller);

// The findings as lines for a terminal, the gravest first.
std::string FormatFindings(const std::vector<Finding>& findings);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_DOCTOR_H_
