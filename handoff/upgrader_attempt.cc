// The part of UpgraderImpl that follows one attempt.
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/time/clock.h"
#include "core/clock.h"
#include "core/error.h"
#include "handoff/crossing.h"
#include "handoff/error_code.h"
#include "handoff/framework_thread.h"
#include "handoff/guarded_call.h"
#include "handoff/precopy.h"
#include "handoff/preparation.h"
#include "handoff/upgrader_impl.h"

namespace liveexec {
namespace {

// Also where there is no memory for it now: an attempt that gets stuck would be the last one. A
// task that holds one pointer takes none.
template <typename Task>
void PostSurely(Executor& executor, Task task) {
  const auto post = [&] {
    executor.Post(task);
    return absl::OkStatus();
  };
  while (!CatchingCall("post a task", post).ok()) absl::SleepFor(absl::Milliseconds(10));
}

}  // namespace

absl::Status UpgraderImpl::Busy() {
  return CodedError("E_BUSY", absl::StatusCode::kUnavailable,
                    "another upgrade is under way; ask again when it has ended");
}

absl::Status UpgraderImpl::Cancelled() {
  return CodedError("E_CANCELLED", absl::StatusCode::kCancelled, "the upgrade was cancelled");
}

absl::Status UpgraderImpl::DidNotStop() {
  return CodedError("E_QUIESCE", absl::StatusCode::kDeadlineExceeded,
                    "a thread did not come to a stop in time, or work in flight did not end; look "
                    "for callbacks that block, or raise quiesce_deadline");
}

void UpgraderImpl::Request(UpgradeRequest request, Done done) {
  auto attempt = std::make_unique<Attempt>();
  attempt->request = std::move(request);
  attempt->done = std::move(done);
  if (conductor_ == nullptr) {
    JournalEntry refused{.trigger = attempt->request.trigger,
                         .code = "E_NOT_STARTED",
                         .message = "Upgrader::Start has not succeeded yet"};
    program_.main.Post(
        [done = std::move(attempt->done), refused]() mutable { std::move(done)(refused); });
    return;
  }
  conductor_->Post(
      [this, attempt = std::move(attempt)]() mutable { (void)Begin(std::move(attempt)); });
}

absl::Status UpgraderImpl::Begin(std::unique_ptr<Attempt> attempt) {
  JournalEntry& entry = attempt->entry;
  entry.trigger = attempt->request.trigger;
  entry.binary =
      attempt->request.binary.empty() ? program_.DefaultBinary() : attempt->request.binary;
  entry.from_version = program_.note.version;
  entry.started_unix_ns = UnixNs();
  if (busy_) {
    absl::Status busy = Busy();
    // The requester gets the error as its answer; an API caller gets an entry. Neither is
    // journaled: the upgrade under way is.
    if (attempt->done) {
      entry.code = CodeOf(busy);
      entry.message = std::string(busy.message());
      program_.main.Post(
          [done = std::move(attempt->done), entry]() mutable { std::move(done)(entry); });
    }
    return busy;
  }
  if (attempt->request.max_blackout <= absl::ZeroDuration()) {
    attempt->request.max_blackout = program_.options.blackout_budget;
  }
  busy_ = true;
  ticket_ = attempt->ticket;
  conductor_->set_take_signal(false);
  conductor_->set_watchful(true);
  conductor_->set_needs_thread(true);
  {
    std::lock_guard lock(program_.mutex);
    entry.upgrade = ++program_.attempts;
  }
  attempt_ = std::move(attempt);
  StartPreparing();
  return absl::OkStatus();
}

void UpgraderImpl::StartPreparing() {
  absl::AnyInvocable<void()&&> body = [this] {
    outcome_ = CatchingCall("prepare the upgrade", [this] {
      supervision_.Upgrading(attempt_->entry);
      const uint64_t requester = attempt_->requester;
      LIVEEXEC_RETURN_IF_ERROR(Prepare(program_, *attempt_, [this, requester](Phase phase) {
        conductor_->Post([this, requester, phase] { Observe(requester, phase); });
      }));
      supervision_.Undecided(*attempt_);
      return absl::OkStatus();
    });
    PostSurely(*conductor_, [this] { Prepared(); });
  };
  const absl::Status status = CatchingCall("prepare the upgrade", [&]() -> absl::Status {
    auto thread = StartFrameworkThread(body);
    if (!thread.ok()) return WithCode(Annotate(thread.status(), "prepare the upgrade"), "E_GUARD");
    preparing_ = *std::move(thread);
    return absl::OkStatus();
  });
  if (!status.ok()) Abandon(status);
}

void UpgraderImpl::Observe(uint64_t requester, Phase phase) {
  phase_ = static_cast<uint8_t>(phase);
  if (requester == 0) return;
  control_->SendProgress(requester, {.phase = std::string(PhaseName(phase)),
                                     .state = ControlProgress::State::kStarted});
}

void UpgraderImpl::Prepared() {
  preparing_.join();
  const absl::Status status = CatchingCall("wait for the blackout", [this] {
    LIVEEXEC_RETURN_IF_ERROR(outcome_);
    if (ticket_->cancelled()) return Cancelled();
    WaitForBlackout();
    return absl::OkStatus();
  });
  if (status.ok()) return;
  // One that was begun all the same is abandoned by EnterBlackout.
  if (waiting_ != nullptr && !waiting_->CancelWhatFollows()) return;
  Abandon(status);
}

void UpgraderImpl::WaitForBlackout() {
  attempt_->phases.Enter(Phase::kQuiescing, attempt_->entry);
  Observe(attempt_->requester, Phase::kQuiescing);
  waiting_ = ticket_;
  deadline_ = conductor_->SetTimer(program_.options.quiesce_deadline, [this] {
    // One that is being tried is abandoned by EnterBlackout, if it would have to be tried again.
    // The reason first: once the ticket is cancelled, nobody else abandons it.
    const absl::Status reason = CatchingCall("give up waiting", DidNotStop);
    if (waiting_ == nullptr || !waiting_->CancelWhatFollows()) return;
    Abandon(reason);
  });
  EnterBlackoutWhenDrained(ticket_);
}

void UpgraderImpl::EnterBlackoutWhenDrained(const std::shared_ptr<BlackoutTicket>& ticket) {
  program_.parking.WhenDrained(program_.main, ticket, [this, ticket] { EnterBlackout(ticket); });
}

void UpgraderImpl::EnterBlackout(const std::shared_ptr<BlackoutTicket>& ticket) {
  if (!ticket->Claim()) return;
  bool again = false;
  outcome_ = CatchingCall("cross", [&] {
    std::optional<absl::Status> status = Cross(program_, *attempt_);
    again = !status.has_value();
    return std::move(status).value_or(DidNotStop());
  });
  if (again && ticket->Unclaim()) {
    const absl::Status waits = CatchingCall("wait for the blackout", [&] {
      EnterBlackoutWhenDrained(ticket);
      return absl::OkStatus();
    });
    // Some of what it posted may run all the same, and find the ticket claimed.
    if (waits.ok() || !ticket->Claim()) return;
    outcome_ = waits;
  }
  PostSurely(*conductor_, [this] { Abandon(outcome_); });
}

void UpgraderImpl::Abandon(const absl::Status& status) {
  JournalEntry entry = std::move(attempt_->entry);
  entry.outcome = Outcome::kAbandoned;
  entry.pid = static_cast<uint32_t>(getpid());
  (void)CatchingCall("describe the attempt", [&] {
    entry.code = CodeOf(status);
    entry.message = std::string(status.message());
    PhaseMachine& phases = attempt_->phases;
    if (phases.phase() == Phase::kIdle) phases.Enter(Phase::kChecking, entry);
    entry.failed_phase = std::string(PhaseName(phases.phase()));
    phases.Enter(Phase::kResuming, entry);
    phases.Enter(Phase::kIdle, entry);
    return absl::OkStatus();
  });
  const uint64_t requester = attempt_->requester;
  const bool precopy_begun = attempt_->precopy_begun;
  Done done = std::move(attempt_->done);
  // Whoever hears of the end finds nothing left of the attempt: no fd, no custodian.
  attempt_.reset();
  BeIdle();
  if (precopy_begun) {
    PostSurely(program_.main, [this, exists = existence_] {
      if (*exists) AbandonPrecopy(program_);
    });
  }
  Tell(entry, requester, std::move(done));
}

void UpgraderImpl::BeIdle() {
  conductor_->CancelTimer(deadline_);
  waiting_ = nullptr;
  busy_ = false;
  phase_ = static_cast<uint8_t>(Phase::kIdle);
  conductor_->set_take_signal(true);
  conductor_->set_watchful(false);
  conductor_->set_needs_thread(false);
}

// Where there is no memory to tell the one, the others hear of it all the same.
void UpgraderImpl::Tell(const JournalEntry& entry, uint64_t requester, Done done) {
  const auto tell = [](absl::FunctionRef<void()> whom) {
    return CatchingCall("tell of the upgrade", [&] {
      whom();
      return absl::OkStatus();
    });
  };
  (void)tell([&] {
    std::lock_guard lock(program_.mutex);
    program_.journal.Add(entry);
  });
  (void)tell([&] { supervision_.Upgraded(entry); });
  if (requester != 0 && !tell([&] { control_->SendResult(requester, entry); }).ok()) {
    control_->HangUp(requester);
  }
  if (!done) return;
  (void)tell([&] {
    program_.main.Post([done = std::move(done), entry]() mutable { std::move(done)(entry); });
  });
}

}  // namespace liveexec
