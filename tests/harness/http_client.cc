#include "tests/harness/http_client.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

void HttpClient::Start() {
  if (!options_.only_on_demand) Ask();
}

void HttpClient::Prove() {
  if (!sent_ns_ && connection().open()) Ask();
}

void HttpClient::Ask() {
  const std::string request =
      absl::StrCat("GET ", options_.path, " HTTP/1.1\r\nHost: ", options_.host, "\r\n\r\n");
  sent_ns_ = NowNs();
  ++requests_;
  if (!options_.halves) return connection().Send(request);
  const size_t cut = random_.Between(1, request.size() - 1);
  connection().Send(request.substr(0, cut));
  loop_.After(absl::Milliseconds(random_.Below(30)),
              [this, rest = request.substr(cut), alive = std::weak_ptr<bool>(alive_)] {
                if (!alive.expired()) connection().Send(rest);
              });
}

void HttpClient::AskLater() {
  if (!running_ || finished() || options_.only_on_demand || announced_) return;
  const auto think = absl::Nanoseconds(static_cast<int64_t>(
      random_.Below(static_cast<uint64_t>(absl::ToInt64Nanoseconds(options_.max_think)) + 1)));
  loop_.After(think, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired() && running_ && connection().open() && !sent_ns_) Ask();
  });
}

void HttpClient::OnResponse(const HttpResponse& response) {
  if (!sent_ns_) {
    Complain(Verdict::kAnsweredTwice,
             absl::StrCat("a response (", response.status, ") came without a request, after ",
                          requests_, " requests"));
    return;
  }
  if (!first_) first_ = response;
  if (response.status != first_->status || response.status >= 500) {
    Complain(Verdict::kWrongReply, absl::StrCat("status ", response.status, " to request ",
                                                requests_, "; the first had ", first_->status));
  } else if (options_.same_body && response.body != first_->body) {
    Complain(Verdict::kWrongReply,
             absl::StrCat("the body of response ", requests_, " (", response.body.size(),
                          " bytes) is not that of the first (", first_->body.size(), ")"));
  }
  const int64_t sent = *sent_ns_;
  sent_ns_.reset();
  ++answered_;
  announced_ = announced_ || response.closes;
  CountReply(sent);
  AskLater();
}

void HttpClient::OnBytes(std::string_view bytes) {
  parser_.Feed(bytes);
  while (!complained()) {
    const auto response = parser_.Next();
    if (!response.ok()) {
      Complain(Verdict::kByteForeign, std::string(response.status().message()));
      return;
    }
    if (!response->has_value()) return;
    OnResponse(**response);
  }
}

void HttpClient::OnClosed(const absl::Status& reason) {
  const std::string how = reason.ok() ? "closed" : std::string(reason.message());
  Complain(Verdict::kConnectionLost,
           absl::StrCat("the server ended the connection (", how, ")",
                        announced_ ? ", which it had announced" : "",
                        sent_ns_ ? absl::StrCat(", request ", requests_, " unanswered") : ""));
}

}  // namespace liveexec::harness
