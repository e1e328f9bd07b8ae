#include "handoff/precopy.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"

namespace liveexec {
namespace {

// How often a waiting thread looks whether the attempt was cancelled.
constexpr std::chrono::milliseconds kLook(20);

// Shared by the one that waits and by components, which may be done too late.
struct Progress {
  std::mutex mutex;
  std::condition_variable changed;
  bool given_up = false;
  size_t left = 0;
  absl::Status status;
  // A copy: the attempt may end while components are still told of its successor.
  ProgramNote note;

  void Finish(const absl::Status& outcome) {
    std::lock_guard lock(mutex);
    status.Update(outcome);
    --left;
    changed.notify_all();
  }
};

void BeginAll(Program& program, const Successor& successor,
              const std::shared_ptr<Progress>& progress) {
  for (Component* component : program.components) {
    absl::Status status =
        GuardedCall(absl::StrCat("precopy component ", std::string(component->name())), [&] {
          component->Precopy(
              successor, [progress](const absl::Status& outcome) { progress->Finish(outcome); });
          return absl::OkStatus();
        });
    if (!status.ok()) progress->Finish(status);
  }
}

}  // namespace

absl::Status Precopy(Program& program, Attempt& attempt) {
  auto progress = std::make_shared<Progress>();
  progress->left = program.components.size();
  attempt.precopy_begun = true;
  Successor successor = SuccessorOf(attempt);
  if (successor.note != nullptr) {
    progress->note = *successor.note;
    successor.note = &progress->note;
  }
  program.main.Post([progress, &program, successor] {
    {
      std::lock_guard lock(progress->mutex);
      // Once it is given up, what the reference refers to may be gone.
      if (progress->given_up) return;
    }
    BeginAll(program, successor, progress);
  });
  std::unique_lock lock(progress->mutex);
  const int64_t start_ns = MonotonicNs();
  while (progress->left > 0) {
    progress->changed.wait_for(lock, kLook);
    if (attempt.ticket->cancelled()) {
      progress->given_up = true;
      return CodedError("E_CANCELLED", absl::StatusCode::kCancelled, "the upgrade was cancelled");
    }
    if (absl::Nanoseconds(MonotonicNs() - start_ns) <= program.options.precopy_deadline) continue;
    progress->given_up = true;
    return CodedError("E_TIMEOUT", absl::StatusCode::kDeadlineExceeded,
                      absl::StrCat(progress->left,
                                   " components were not done with what they do ahead of the "
                                   "blackout within precopy_deadline: look for callbacks that "
                                   "block, or raise it"));
  }
  return WithCode(progress->status, "E_GUARD");
}

void AbandonPrecopy(Program& program) {
  for (Component* component : program.components) {
    // There is nothing better to do with an exception than to go on with the others.
    (void)GuardedCall("abandon precopy", [&] {
      component->AbandonPrecopy();
      return absl::OkStatus();
    });
  }
}

}  // namespace liveexec
