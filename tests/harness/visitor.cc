#include "tests/harness/visitor.h"

#include "absl/strings/str_cat.h"

namespace liveexec::harness {

namespace {
constexpr uint64_t kMaxPauseMs = 60;
}

void Visitor::Start() {
  if (manner_ == Manner::kWhole) return Request(exchange_.request, exchange_.reply);
  if (manner_ == Manner::kHalfOpen) ExpectClose();
  if (manner_ != Manner::kKnock) {
    // The whole reply is expected at once: an echo server answers the first part already.
    cut_ = random_.Between(1, exchange_.request.size() - 1);
    Request(exchange_.request.substr(0, cut_), exchange_.reply);
  }
  loop_.After(absl::Milliseconds(random_.Below(kMaxPauseMs + 1)),
              [this, alive = std::weak_ptr<bool>(alive_)] {
                if (!alive.expired()) SendRest();
              });
}

void Visitor::SendRest() {
  if (!connection().open()) return;
  if (manner_ == Manner::kKnock) return Request(exchange_.request, exchange_.reply);
  connection().Send(exchange_.request.substr(cut_));
  if (manner_ == Manner::kHalfOpen) connection().FinishSending();
}

void Visitor::OnClosed(const absl::Status& reason) {
  const bool nothing_came = replies() == 0 && check_.position() == 0;
  // A reset in place of the first reply is what a lost accept queue looks like.
  if (nothing_came && (manner_ != Manner::kHalfOpen || !reason.ok())) {
    Complain(Verdict::kConnectionRefused,
             absl::StrCat("a new connection ended before its first reply", reason.ok() ? "" : ": ",
                          reason.message()));
    return;
  }
  Client::OnClosed(reason);
  if (manner_ == Manner::kHalfOpen && reason.ok() && replies() == 0)
    Complain(Verdict::kReplyMissing,
             "the server closed a half-open connection without answering its request");
}

}  // namespace liveexec::harness
