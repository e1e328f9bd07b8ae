// The part of UpgraderImpl that follows one attempt.
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

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

absl::Status UpgraderImpl::Busy() {
  return CodedError("E_BUSY", absl::StatusCode::kUnavailable,
                    "another upgrade is under way; ask again when it has ended");
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
  busy_ = true;
  ticket_ = attempt->ticket;
  conductor_->set_take_signal(false);
  conductor_->set_watchful(true);
  conductor_->set_needs_thread(true);
  {
    std::lock_guard lock(program_.mutex);
    entry.upgrade = ++program_.attempts;
  }
  if (attempt->request.max_blackout <= absl::ZeroDuration()) {
    attempt->request.max_blackout = program_.options.blackout_budget;
  }
  StartPreparing(std::move(attempt));
  return absl::OkStatus();
}

void UpgraderImpl::StartPreparing(std::unique_ptr<Attempt> attempt) {
  auto held = std::make_shared<std::unique_ptr<Attempt>>(std::move(attempt));
  absl::AnyInvocable<void()&&> body = [this, held] {
    const uint64_t requester = (*held)->requester;
    absl::Status status = CatchingCall("prepare the upgrade", [&] {
      supervision_.Upgrading((*held)->entry);
      LIVEEXEC_RETURN_IF_ERROR(Prepare(program_, **held, [this, requester](Phase phase) {
        conductor_->Post([this, requester, phase] { Observe(requester, phase); });
      }));
      supervision_.Undecided(**held);
      return absl::OkStatus();
    });
    conductor_->Post([this, status, attempt = std::move(*held)]() mutable {
      Prepared(std::move(attempt), status);
    });
  };
  auto thread = StartFrameworkThread(body);
  if (thread.ok()) {
    preparing_ = *std::move(thread);
    return;
  }
  (*held)->phases.Enter(Phase::kChecking, (*held)->entry);
  Abandon(std::move(*held), WithCode(Annotate(thread.status(), "prepare the upgrade"), "E_GUARD"));
}

void UpgraderImpl::Observe(uint64_t requester, Phase phase) {
  phase_ = static_cast<uint8_t>(phase);
  if (requester == 0) return;
  control_->SendProgress(requester, {.phase = std::string(PhaseName(phase)),
                                     .state = ControlProgress::State::kStarted});
}

void UpgraderImpl::Prepared(std::unique_ptr<Attempt> attempt, const absl::Status& status) {
  preparing_.join();
  if (!status.ok()) {
    Abandon(std::move(attempt), status);
    return;
  }
  if (attempt->ticket->cancelled()) {
    Abandon(std::move(attempt),
            CodedError("E_CANCELLED", absl::StatusCode::kCancelled, "the upgrade was cancelled"));
    return;
  }
  WaitForBlackout(std::move(attempt));
}

void UpgraderImpl::WaitForBlackout(std::unique_ptr<Attempt> attempt) {
  std::shared_ptr<BlackoutTicket> ticket = attempt->ticket;
  attempt->phases.Enter(Phase::kQuiescing, attempt->entry);
  Observe(attempt->requester, Phase::kQuiescing);
  waiting_ = ticket;
  parked_attempt_ = std::move(attempt);
  deadline_ = conductor_->SetTimer(program_.options.quiesce_deadline, [this] {
    // One that is being tried is abandoned by EnterBlackout, if it would have to be tried again.
    if (waiting_ == nullptr || !waiting_->CancelWhatFollows()) return;
    Abandon(std::move(parked_attempt_), DidNotStop());
  });
  program_.parking.WhenDrained(program_.main, ticket, [this, ticket] { EnterBlackout(ticket); });
}

void UpgraderImpl::EnterBlackout(std::shared_ptr<BlackoutTicket> ticket) {
  if (!ticket->Claim()) return;
  std::optional<absl::Status> status = Cross(program_, *parked_attempt_);
  if (!status.has_value() && ticket->Unclaim()) {
    program_.parking.WhenDrained(program_.main, ticket, [this, ticket] { EnterBlackout(ticket); });
    return;
  }
  conductor_->Post([this, status = std::move(status).value_or(DidNotStop())] {
    Abandon(std::move(parked_attempt_), status);
  });
}

void UpgraderImpl::Abandon(std::unique_ptr<Attempt> attempt, const absl::Status& status) {
  JournalEntry entry = attempt->entry;
  entry.outcome = Outcome::kAbandoned;
  entry.code = CodeOf(status);
  entry.message = std::string(status.message());
  entry.failed_phase = std::string(PhaseName(attempt->phases.phase()));
  entry.pid = static_cast<uint32_t>(getpid());
  attempt->phases.Enter(Phase::kResuming, entry);
  attempt->phases.Enter(Phase::kIdle, entry);
  const uint64_t requester = attempt->requester;
  const bool precopy_begun = attempt->precopy_begun;
  Done done = std::move(attempt->done);
  // Whoever hears of the end finds nothing left of the attempt: no fd, no custodian.
  attempt.reset();
  {
    std::lock_guard lock(program_.mutex);
    program_.journal.Add(entry);
  }
  conductor_->CancelTimer(deadline_);
  waiting_ = nullptr;
  busy_ = false;
  phase_ = static_cast<uint8_t>(Phase::kIdle);
  conductor_->set_take_signal(true);
  conductor_->set_watchful(false);
  conductor_->set_needs_thread(false);
  supervision_.Upgraded(entry);
  if (requester != 0) control_->SendResult(requester, entry);
  program_.main.Post(
      [this, exists = existence_, precopy_begun, done = std::move(done), entry]() mutable {
        if (precopy_begun && *exists) AbandonPrecopy(program_);
        if (done) std::move(done)(entry);
      });
}

}  // namespace liveexec
