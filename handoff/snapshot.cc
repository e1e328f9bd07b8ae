#include "handoff/snapshot.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/phase.h"

namespace liveexec {
namespace {

// Bounds what an endless duration would make wrap around into the past.
constexpr absl::Duration kLongest = absl::Hours(24 * 365);

// Shared by the one that waits and the main thread, which may be too late.
struct Job {
  std::mutex mutex;
  std::condition_variable done;
  bool given_up = false;
  std::optional<absl::StatusOr<Exported>> result;
};

absl::StatusOr<Exported> ExportOnMain(Program& program, FdInspector& inspector,
                                      const Successor& successor, Executor* caller) {
  absl::Status parked =
      program.parking.Park(Parking::For::kSnapshot, program.options.quiesce_deadline, caller);
  if (!parked.ok()) return WithCode(parked, "E_QUIESCE");
  int64_t slice_ns = absl::ToInt64Nanoseconds(std::min(program.options.rehearsal_slice, kLongest));
  Exporter exporter(program.syscalls, inspector, program.note);
  auto exported = exporter.Export(program.components, successor, MonotonicNs() + slice_ns);
  program.parking.Release();
  return exported;
}

}  // namespace

absl::StatusOr<Exported> TakeSnapshot(Program& program, FdInspector& inspector,
                                      const Successor& successor, Executor* caller) {
  if (caller == &program.main) return ExportOnMain(program, inspector, successor, nullptr);
  auto job = std::make_shared<Job>();
  program.main.Post([job, &program, &inspector, successor, caller] {
    std::lock_guard lock(job->mutex);
    // Once it is given up, what the references refer to may be gone.
    if (job->given_up) return;
    job->result = ExportOnMain(program, inspector, successor, caller);
    job->done.notify_all();
  });
  std::unique_lock lock(job->mutex);
  absl::Duration patience = std::min(program.options.quiesce_deadline, kLongest);
  job->done.wait_for(lock, absl::ToChronoNanoseconds(patience),
                     [&] { return job->result.has_value(); });
  if (job->result.has_value()) return *std::move(job->result);
  job->given_up = true;
  return CodedError("E_QUIESCE", absl::StatusCode::kDeadlineExceeded,
                    "the main thread did not take a snapshot in time; look for callbacks that "
                    "block");
}

}  // namespace liveexec
