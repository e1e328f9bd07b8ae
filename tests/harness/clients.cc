#include "tests/harness/clients.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

namespace {

// A client's list and string start anew at these sizes: the checks need history, not megabytes.
constexpr size_t kMaxListLength = 200;
constexpr size_t kMaxAppended = 20000;              // bytes
constexpr uint64_t kLookAhead = uint64_t{1} << 21;  // bytes that a slow reader expects at a time

// Keys that no other client uses, of this swarm or of an earlier one.
std::string UniqueKey() {
  static std::atomic<uint64_t> count{0};
  return absl::StrCat("record:", getpid(), ":", ++count);
}

absl::Duration ThinkTime(Random& random, absl::Duration most) {
  return absl::Microseconds(
      random.Below(static_cast<uint64_t>(absl::ToInt64Microseconds(most)) + 1));
}

std::string Integer(uint64_t value) { return absl::StrCat(":", value, "\r\n"); }

}  // namespace

void IdleClient::Prove() {
  const std::string token = absl::StrCat("alive-", absl::Hex(random_.Next(), absl::kZeroPad16));
  if (protocol_ == Protocol::kEcho) {
    Request(token, token);
  } else {
    Request(RespCommand({"ECHO", token}), RespBulk(token));
  }
}

RecordClient::RecordClient(EventLoop& loop, std::string name, Random random,
                           CheckingOptions options)
    : Client(loop, std::move(name)), random_(random), options_(options), key_(UniqueKey()) {}

void RecordClient::Start() {
  if (options_.cut) connection().CutRandomly(random_.Fork(1));
  running_ = true;
  Fill();
}

void RecordClient::FillLater() {
  if (options_.max_think == absl::ZeroDuration()) return Fill();
  if (fill_scheduled_) return;
  fill_scheduled_ = true;
  loop_.After(ThinkTime(random_, options_.max_think), [this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    fill_scheduled_ = false;
    Fill();
  });
}

void RecordClient::Fill() {
  while (running_ && outstanding() < options_.window) SendRecord();
}

// Text with every byte value: the protocol is binary-safe, and so must be everything that carries
// it.
std::string RecordClient::Payload() {
  return absl::StrCat(
      requests_, ":",
      PositionCodedBytes(random_.Next(), 0, random_.Below(options_.max_payload + 1)));
}

void RecordClient::SendRecord() {
  const uint64_t kind = random_.Below(10);
  if (kind < 5) {
    const std::string payload = Payload();
    Request(RespCommand({"ECHO", payload}), RespBulk(payload));
  } else if (kind == 5) {
    Push();
  } else if (kind == 6) {
    Append();
  } else if (kind == 7) {
    const std::string payload = Payload();
    Request(RespCommand({"SET", key_ + ":value", payload}), "+OK\r\n");
    Request(RespCommand({"GET", key_ + ":value"}), RespBulk(payload));
  } else {
    Request(RespCommand({"INCR", key_ + ":counter"}), Integer(++counter_));
  }
}

void RecordClient::Push() {
  if (list_.size() >= kMaxListLength) {
    Request(RespCommand({"DEL", key_ + ":list"}), Integer(1));
    list_.clear();
  }
  list_.push_back(absl::StrCat("record ", requests_));
  Request(RespCommand({"RPUSH", key_ + ":list", list_.back()}), Integer(list_.size()));
}

void RecordClient::Append() {
  if (appended_.size() > kMaxAppended) {
    Request(RespCommand({"DEL", key_ + ":text"}), Integer(1));
    appended_.clear();
  }
  const std::string piece = absl::StrCat("[", requests_, "]");
  appended_ += piece;
  Request(RespCommand({"APPEND", key_ + ":text", piece}), Integer(appended_.size()));
}

void RecordClient::VerifyKeys() {
  std::string list = absl::StrCat("*", list_.size(), "\r\n");
  for (const std::string& element : list_) list += RespBulk(element);
  Request(RespCommand({"LRANGE", key_ + ":list", "0", "-1"}), list);
  if (counter_ > 0)
    Request(RespCommand({"GET", key_ + ":counter"}), RespBulk(absl::StrCat(counter_)));
  if (!appended_.empty()) Request(RespCommand({"GET", key_ + ":text"}), RespBulk(appended_));
}

void RecordClient::Stop() {
  if (!running_) return;
  running_ = false;
  VerifyKeys();
}

EchoClient::EchoClient(EventLoop& loop, std::string name, Random random, CheckingOptions options)
    : Client(loop, std::move(name)),
      random_(random),
      options_(options),
      stream_seed_(random_.Next()) {}

void EchoClient::Start() {
  if (options_.cut) connection().CutRandomly(random_.Fork(1));
  running_ = true;
  Fill();
}

void EchoClient::FillLater() {
  if (options_.max_think == absl::ZeroDuration()) return Fill();
  if (fill_scheduled_) return;
  fill_scheduled_ = true;
  loop_.After(ThinkTime(random_, options_.max_think), [this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    fill_scheduled_ = false;
    Fill();
  });
}

void EchoClient::Fill() {
  while (running_ && outstanding() < options_.window) {
    const std::string piece =
        PositionCodedBytes(stream_seed_, sent_, random_.Between(1, options_.max_payload));
    sent_ += piece.size();
    Request(piece, piece);
  }
}

void SlowReader::Start() {
  connection().PauseReading();
  Request(request_, reply_.head);
  ExpectMore();
  if (bytes_per_second_ > 0) Tick();
}

// The expected bytes are made as they are needed, not all at once.
void SlowReader::ExpectMore() {
  while (generated_ < reply_.size && check_.expected_end() < check_.position() + kLookAhead) {
    const uint64_t size = std::min<uint64_t>(reply_.size - generated_, 1 << 18);
    check_.Expect(PositionCodedBytes(reply_.seed, generated_, size));
    generated_ += size;
  }
  if (generated_ == reply_.size && !tail_expected_) {
    check_.Expect(reply_.tail);
    tail_expected_ = true;
  }
}

void SlowReader::Take(size_t bytes) {
  connection().ReadOnce(bytes);
  ExpectMore();
}

void SlowReader::Tick() {
  constexpr int kTicksPerSecond = 100;
  loop_.After(absl::Seconds(1) / kTicksPerSecond, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    Take(std::max<size_t>(1, bytes_per_second_ / kTicksPerSecond));
    if (!finished() && !broken()) Tick();
  });
}

ClientReport SlowReader::Report() {
  // All that was never expected, because it was too far ahead, is missing as well.
  while (!tail_expected_) {
    if (generated_ < reply_.size) {
      const uint64_t size = std::min<uint64_t>(reply_.size - generated_, 1 << 18);
      check_.Expect(PositionCodedBytes(reply_.seed, generated_, size));
      generated_ += size;
    } else {
      ExpectMore();
    }
  }
  return Client::Report();
}

void SlowTaker::Next() {
  const std::string bytes = PositionCodedBytes(random_.Next(), 0, size_);
  connection().PauseReading();
  if (protocol_ == Protocol::kEcho) {
    Request(bytes, bytes);
  } else {
    Request(RespCommand({"ECHO", bytes}), RespBulk(bytes));
  }
  loop_.After(absl::Milliseconds(random_.Between(50, 400)),
              [this, alive = std::weak_ptr<bool>(alive_)] {
                if (!alive.expired()) connection().ResumeReading();
              });
}

void SlowTaker::OnReplies() {
  loop_.After(absl::Milliseconds(random_.Below(50)), [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired() && running_ && !broken()) Next();
  });
}

void SlowTaker::Stop() {
  running_ = false;
  connection().ResumeReading();
}

void Subscriber::Start() {
  std::vector<std::string> command = {"SUBSCRIBE"};
  command.insert(command.end(), channels_.begin(), channels_.end());
  connection().Send(RespCommand(command));
}

uint64_t Subscriber::received(const std::string& channel) const {
  const auto found = received_.find(channel);
  return found == received_.end() ? 0 : found->second;
}

bool Subscriber::settled() const {
  return published_ == nullptr || broken() || received_.empty() ||
         received(channels_[0]) >= *published_;
}

void Subscriber::OnMessage(const std::string& channel, const std::string& number) {
  const bool first = received_.count(channel) == 0;
  const std::string expected = absl::StrCat(++received_[channel]);
  if (number == expected) return;
  if (first && joins_midway_ && absl::SimpleAtoi(number, &received_[channel])) return;
  disorder_.push_back(absl::StrCat("channel ", channel, ": message '", absl::CHexEscape(number),
                                   "' came instead of '", expected, "'"));
  uint64_t value = 0;
  if (absl::SimpleAtoi(number, &value)) received_[channel] = value;
}

void Subscriber::OnBytes(std::string_view bytes) {
  parser_.Feed(bytes);
  while (true) {
    const auto value = parser_.Next();
    if (!value.ok()) {
      disorder_.emplace_back(value.status().message());
      connection().PauseReading();
      return;
    }
    if (!value->has_value()) return;
    const std::vector<RespValue>& parts = (*value)->elements;
    if (parts.size() == 3 && parts[0].text == "message") {
      OnMessage(parts[1].text, parts[2].text);
    } else if (parts.size() == 3 && parts[0].text == "subscribe") {
      ++subscribed_;
    } else {
      disorder_.push_back(absl::StrCat("an unexpected reply: ", (*value)->ToString()));
    }
  }
}

ClientReport Subscriber::Report() {
  ClientReport report = Client::Report();
  if (!settled()) {
    disorder_.push_back(absl::StrCat("channel ", channels_[0], ": message ",
                                     received(channels_[0]) + 1, " and later ones, up to ",
                                     *published_, ", never came"));
  }
  report.problems.insert(report.problems.end(), disorder_.begin(), disorder_.end());
  for (const std::string& text : disorder_)
    report.anomalies.push_back({Verdict::kMessageLost, report.client, text, NowNs()});
  return report;
}

}  // namespace liveexec::harness
