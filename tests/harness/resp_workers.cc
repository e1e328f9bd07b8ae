#include "tests/harness/resp_workers.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

void RespWorker::Command(const std::vector<std::string>& command) {
  sent_ns_ = NowNs();
  ++requests_;
  connection().Send(RespCommand(command));
}

void RespWorker::NextAfter(absl::Duration delay) {
  loop_.After(delay, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired() && running_ && connection().open() && !complained()) Next();
  });
}

void RespWorker::OnBytes(std::string_view bytes) {
  parser_.Feed(bytes);
  while (!complained()) {
    const auto value = parser_.Next();
    if (!value.ok()) return Complain(Verdict::kByteForeign, std::string(value.status().message()));
    if (!value->has_value()) return;
    if (!sent_ns_) {
      return Complain(Verdict::kAnsweredTwice,
                      absl::StrCat("a reply came without a request: ", (*value)->ToString()));
    }
    const int64_t sent = *sent_ns_;
    sent_ns_.reset();
    CountReply(sent);
    OnValue(**value, sent);
  }
}

void SharedKeyClient::Next() {
  using Kind = Operation::Kind;
  const bool counter = random_.Below(2) == 0;
  const std::string key =
      absl::StrCat(prefix_, counter ? ":counter:" : ":register:", random_.Below(keys_));
  if (random_.Below(2) == 0) {
    operation_ = history_.Invoke(number_, key, Kind::kRead, 0);
    return Command({"GET", key});
  }
  if (counter) {
    operation_ = history_.Invoke(number_, key, Kind::kAdd, 1);
    return Command({"INCR", key});
  }
  // A value that nobody else writes, so that a read tells which write it saw.
  const auto value = static_cast<int64_t>(history_.operations().size() + 1);
  operation_ = history_.Invoke(number_, key, Kind::kWrite, value);
  Command({"SET", key, absl::StrCat(value)});
}

void SharedKeyClient::OnValue(const RespValue& value, int64_t) {
  int64_t result = value.integer;
  if (value.is_error()) {
    // "LOADING", "READONLY" and the like: refused, without an effect.
    history_.Fail(*operation_);
  } else if (value.kind == RespValue::Kind::kBulk && !absl::SimpleAtoi(value.text, &result)) {
    Complain(Verdict::kWrongReply, absl::StrCat("'", value.text, "' is not a number"));
  } else {
    history_.Ok(*operation_, value.is_null() ? kAbsent : result);
  }
  operation_.reset();
  NextAfter(absl::Microseconds(random_.Below(2000)));
}

void SharedKeyClient::OnClosed(const absl::Status& reason) {
  if (operation_) history_.Unknown(*operation_);
  operation_.reset();
  Client::OnClosed(reason);
}

void TimerClient::Start() {
  Next();
  Watch();
}

void TimerClient::Next() {
  timeout_ms_ = static_cast<int64_t>(random_.Between(100, 900));
  due_ns_ = NowNs() + timeout_ms_ * 1'000'000;
  late_turns_ = 0;
  Command({"BLPOP", absl::StrCat("liveexec:nothing:", random_.Next()),
           absl::StrFormat("%.3f", static_cast<double>(timeout_ms_) / 1e3)});
}

void TimerClient::Watch() {
  loop_.After(absl::Milliseconds(50), [this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired() || broken()) return;
    const int64_t late = NowNs() - due_ns_;
    if (waiting() && late > 0 && ++late_turns_ == 1) progress_when_due_ = progress_();
    if (waiting() && late_turns_ > kSlackTurns &&
        progress_() > progress_when_due_ + kSlackProgress) {
      return Complain(Verdict::kTimerForgotten,
                      absl::StrCat("a timeout of ", timeout_ms_, " ms has not ended ",
                                   late / 1'000'000, " ms after its time"));
    }
    Watch();
  });
}

void TimerClient::OnValue(const RespValue& value, int64_t sent_ns) {
  const int64_t waited_ms = (NowNs() - sent_ns) / 1'000'000;
  if (!value.is_null()) {
    Complain(Verdict::kWrongReply, absl::StrCat("BLPOP of an empty list: ", value.ToString()));
  } else if (waited_ms + 20 < timeout_ms_) {
    Complain(Verdict::kTimerForgotten,
             absl::StrCat("a timeout of ", timeout_ms_, " ms ended after ", waited_ms, " ms"));
  }
  NextAfter(absl::ZeroDuration());
}

void Publisher::Next() { Command({"PUBLISH", channel_, absl::StrCat(++number_)}); }

void Publisher::OnValue(const RespValue& value, int64_t) {
  if (value.is_error()) {
    Complain(Verdict::kWrongReply, value.text);
  } else {
    acknowledged_ = number_;
  }
  NextAfter(absl::Milliseconds(random_.Between(1, 5)));
}

}  // namespace liveexec::harness
