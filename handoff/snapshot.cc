#include "handoff/snapshot.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"
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

// How long the other threads are waited for while the main one stands still; and until it is tried
// again, when one of them was at something long.
constexpr absl::Duration kParkPatience = absl::Milliseconds(20);
constexpr std::chrono::milliseconds kPause(20);
// How often it is looked at whether anybody still wants the snapshot.
constexpr std::chrono::milliseconds kLook(20);

absl::Status ExportOnMain(Program& program, FdInspector& inspector, const Successor& successor,
                          Executor* caller, absl::Duration patience, Exported& result) {
  program.main.BeforeStandstill();
  absl::Status parked = program.parking.Park(Parking::For::kSnapshot, patience, caller);
  if (!parked.ok()) return WithCode(parked, "E_QUIESCE");
  int64_t slice_ns = absl::ToInt64Nanoseconds(std::min(program.options.rehearsal_slice, kLongest));
  Exporter exporter(program.syscalls, inspector, program.note);
  LIVEEXEC_ASSIGN_OR_RETURN(
      result, exporter.Export(program.components, successor, MonotonicNs() + slice_ns));
  return absl::OkStatus();
}

absl::StatusOr<Exported> ExportOnMain(Program& program, FdInspector& inspector,
                                      const Successor& successor, Executor* caller,
                                      absl::Duration patience) {
  Exported exported;
  absl::Status status = CatchingCall("take a snapshot", [&] {
    return ExportOnMain(program, inspector, successor, caller, patience, exported);
  });
  program.parking.Release();
  if (!status.ok()) return status;
  return exported;
}

bool Unwanted(const Program& program, const BlackoutTicket* ticket) {
  return program.ending || (ticket != nullptr && ticket->cancelled());
}

// Nothing: the main thread did not come to it by `deadline`, or before it was of no use any more.
std::optional<absl::StatusOr<Exported>> ExportByMain(
    Program& program, FdInspector& inspector, const Successor& successor, Executor* caller,
    const BlackoutTicket* ticket, std::chrono::steady_clock::time_point deadline) {
  auto job = std::make_shared<Job>();
  program.main.Post([job, &program, &inspector, successor, caller] {
    std::lock_guard lock(job->mutex);
    // Once it is given up, what the references refer to may be gone.
    if (job->given_up) return;
    const absl::Duration patience = std::min(program.options.quiesce_deadline, kParkPatience);
    job->result = ExportOnMain(program, inspector, successor, caller, patience);
    job->done.notify_all();
  });
  std::unique_lock lock(job->mutex);
  while (!job->result.has_value() && !Unwanted(program, ticket)) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) break;
    job->done.wait_until(lock, std::min(deadline, now + kLook));
  }
  job->given_up = true;
  return std::move(job->result);
}

}  // namespace

absl::StatusOr<Exported> TakeSnapshot(Program& program, FdInspector& inspector,
                                      const Successor& successor, Executor* caller,
                                      const BlackoutTicket* ticket) {
  if (caller == &program.main) {
    return ExportOnMain(program, inspector, successor, nullptr, program.options.quiesce_deadline);
  }
  if (caller != nullptr) caller->BeforeStandstill();
  const absl::Duration patience = std::min(program.options.quiesce_deadline, kLongest);
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(patience);
  while (auto result = ExportByMain(program, inspector, successor, caller, ticket, deadline)) {
    const bool not_parked = CodeOf(result->status()) == "E_QUIESCE";
    if (!not_parked || std::chrono::steady_clock::now() + kPause > deadline) {
      return *std::move(result);
    }
    std::this_thread::sleep_for(kPause);
  }
  if (Unwanted(program, ticket)) {
    return CodedError("E_CANCELLED", absl::StatusCode::kCancelled, "the upgrade was cancelled");
  }
  return CodedError("E_QUIESCE", absl::StatusCode::kDeadlineExceeded,
                    "the main thread did not take a snapshot in time; look for callbacks that "
                    "block");
}

}  // namespace liveexec
