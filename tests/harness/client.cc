#include "tests/harness/client.h"

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

absl::Status Client::Connect(const Endpoint& endpoint, const DialOptions& options) {
  LIVEEXEC_ASSIGN_OR_RETURN(connection_, Connection::Open(loop_, endpoint, *this, options));
  absl::StrAppend(&name_, " (", connection_->local_name(), ")");
  return absl::OkStatus();
}

void Client::Request(std::string_view request, std::string_view reply) {
  check_.Expect(reply);
  ++requests_;
  outstanding_.push_back({check_.expected_end(), NowNs()});
  connection_->Send(request);
}

void Client::OnBytes(std::string_view bytes) {
  const int64_t now = NowNs();
  check_.Arrived(bytes);
  bool any = false;
  while (!outstanding_.empty() && check_.intact() &&
         outstanding_.front().reply_end <= check_.position()) {
    latencies_.Add(now - outstanding_.front().sent_ns);
    outstanding_.pop_front();
    ++replies_;
    any = true;
  }
  if (!any) return;
  gaps_.Reply(now);
  OnReplies();
}

void Client::OnClosed(const absl::Status& reason) {
  problems_.push_back(absl::StrCat("the server closed the connection at byte ", check_.position(),
                                   " of its replies", reason.ok() ? "" : ": ", reason.message()));
}

ClientReport Client::Report() {
  ClientReport report;
  report.client = name_;
  report.requests = requests_;
  report.failed = requests_ - replies_;
  report.connected = connection_->SameSocket();
  report.bytes = check_.Finish();
  report.problems = problems_;
  if (!report.bytes.intact()) report.problems.push_back(report.bytes.ToString());
  if (report.failed > 0)
    report.problems.push_back(absl::StrCat(report.failed, " requests without their reply"));
  return report;
}

}  // namespace liveexec::harness
