#include "tests/harness/client.h"

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

namespace {

Verdict VerdictOf(const ContinuityResult& bytes) {
  if (bytes.bytes_reordered > 0) return Verdict::kByteReordered;
  if (bytes.bytes_doubled > 0) return Verdict::kByteDoubled;
  if (bytes.bytes_foreign > 0) return Verdict::kByteForeign;
  return Verdict::kByteLost;
}

}  // namespace

absl::Status Client::Connect(const Endpoint& endpoint, const DialOptions& options) {
  LIVEEXEC_ASSIGN_OR_RETURN(connection_, Connection::Open(loop_, endpoint, *this, options));
  SetLocalName(connection_->local_name());
  return absl::OkStatus();
}

void Client::SetLocalName(const std::string& local_name) {
  local_name_ = local_name;
  absl::StrAppend(&name_, " (", local_name, ")");
}

void Client::Request(std::string_view request, std::string_view reply) {
  check_.Expect(reply);
  ++requests_;
  outstanding_.push_back({check_.expected_end(), NowNs()});
  connection_->Send(request);
}

void Client::CountReply(int64_t sent_ns) {
  const int64_t now = NowNs();
  latencies_.Add(now - sent_ns);
  ++replies_;
  gaps_.Reply(now);
  if (on_reply_) on_reply_(now, now - sent_ns);
}

void Client::Complain(Verdict verdict, std::string text) {
  complaints_.push_back({verdict, name_, std::move(text), NowNs()});
}

void Client::OnBytes(std::string_view bytes) {
  const int64_t now = NowNs();
  check_.Arrived(bytes);
  if (deviated_at_ns_ == 0 && !check_.intact()) deviated_at_ns_ = now;
  bool any = false;
  while (!outstanding_.empty() && check_.intact() &&
         outstanding_.front().reply_end <= check_.position()) {
    latencies_.Add(now - outstanding_.front().sent_ns);
    if (on_reply_) on_reply_(now, now - outstanding_.front().sent_ns);
    outstanding_.pop_front();
    ++replies_;
    any = true;
  }
  if (!any) return;
  gaps_.Reply(now);
  OnReplies();
}

void Client::OnClosed(const absl::Status& reason) {
  closed_at_ns_ = NowNs();
  if (close_expected_ && reason.ok()) return;
  const size_t open_requests = requests_ - replies_;
  Complain(Verdict::kConnectionLost,
           absl::StrCat("the server closed the connection at byte ", check_.position(),
                        " of its replies", reason.ok() ? "" : ": ", reason.message(),
                        open_requests == 0
                            ? ""
                            : absl::StrCat(", with ", open_requests, " requests unanswered")));
}

ClientReport Client::Report() {
  ClientReport report;
  report.client = name_;
  report.requests = requests_;
  report.failed = requests_ - replies_;
  report.connected = connected();
  report.anomalies = complaints_;
  const bool whole_so_far = check_.intact();
  report.bytes = check_.Finish();
  if (!report.bytes.intact()) {
    // What is only missing at the end was never answered; what is missing in between was lost.
    const Verdict verdict = whole_so_far ? Verdict::kReplyMissing : VerdictOf(report.bytes);
    if (!whole_so_far || !closed_by_server()) {
      report.anomalies.push_back({verdict, name_, report.bytes.ToString(),
                                  deviated_at_ns_ != 0 ? deviated_at_ns_ : NowNs()});
    }
  }
  for (const Anomaly& anomaly : complaints_) report.problems.push_back(anomaly.text);
  if (!report.bytes.intact()) report.problems.push_back(report.bytes.ToString());
  if (report.failed > 0) {
    report.problems.push_back(absl::StrCat(report.failed, " requests without their reply"));
    if (report.anomalies.empty() && !closed_by_server())
      report.anomalies.push_back({Verdict::kReplyMissing, name_, report.problems.back(), NowNs()});
  }
  return report;
}

}  // namespace liveexec::harness
