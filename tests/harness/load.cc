#include "tests/harness/load.h"

#include <algorithm>
#include <future>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

namespace {

constexpr absl::Duration kTick = absl::Milliseconds(2);
constexpr int kOverdueRounds = 100;      // of a millisecond at least
constexpr int64_t kRetryNs = 5'000'000;  // between attempts to connect again
// Between two visitors in one seat. Without it they come by the thousand, and each leaves a
// connection in TIME-WAIT behind, which makes all that looks at the machine's sockets slow.
constexpr uint64_t kMaxPauseNs = 40'000'000;
constexpr size_t kMaxMoments = size_t{100} * 3600 * 6;

}  // namespace

struct Load::Seat {
  Rank rank = Rank::kBusy;
  std::string kind;
  int number = 0;
  Factory factory;
  DialOptions dialing;
  Random random{0};
  std::unique_ptr<Client> client;  // none: it is to be filled again, or was lost
  int incarnation = 0;
  GapRecorder gaps;
  uint64_t replies = 0;  // of all its clients
  int64_t last_reply_ns = 0;
  int64_t retry_at_ns = 0;
  bool refused = false;  // complained of in this outage
  bool silent = false;   // complained of already, and not waited for any more
};

struct Load::Wait {
  std::function<bool()> condition;
  int64_t deadline_ns = 0;
  int rounds = 0;
  std::promise<bool> result;
};

Load::Load(Endpoint endpoint, uint64_t seed) : endpoint_(std::move(endpoint)), random_(seed) {
  report_.start_ns = NowNs();
}

Load::~Load() { StopThread(); }

void Load::StopThread() {
  if (!thread_.joinable()) return;
  loop_.Stop();
  thread_.join();
}

absl::Status Load::AddSeats(int count, Rank rank, const std::string& kind, Factory factory,
                            const DialOptions& dialing) {
  for (int i = 0; i < count; ++i) {
    auto seat = std::make_unique<Seat>();
    seat->rank = rank;
    seat->kind = kind;
    seat->number = i;
    seat->factory = factory;
    seat->dialing = dialing;
    seat->random = random_.Fork(seats_.size());
    LIVEEXEC_RETURN_IF_ERROR(Fill(*seat));
    if (rank != Rank::kVisitor) ++report_.connections;
    seats_.push_back(std::move(seat));
  }
  return absl::OkStatus();
}

absl::Status Load::Fill(Seat& seat) {
  ++seat.incarnation;
  std::string name = absl::StrCat(seat.kind, " ", seat.number);
  if (seat.incarnation > 1 && seat.rank != Rank::kVisitor)
    absl::StrAppend(&name, ", connection ", seat.incarnation);
  auto client = seat.factory(loop_, std::move(name), seat.random.Fork(seat.incarnation));
  LIVEEXEC_RETURN_IF_ERROR(client->Connect(endpoint_, seat.dialing));
  client->WatchReplies(
      [this, &seat](int64_t now, int64_t latency) { OnReply(seat, now, latency); });
  seat.client = std::move(client);
  seat.refused = false;
  return absl::OkStatus();
}

void Load::Start() {
  report_.start_ns = NowNs();
  loop_.Post([this] {
    for (const auto& seat : seats_) seat->client->Start();
    Tick();
  });
  thread_ = std::thread([this] { loop_.Run(); });
}

Moment& Load::MomentAt(int64_t now) {
  const auto index = static_cast<size_t>((now - report_.start_ns) / kMomentNs);
  const size_t bounded = std::min(index, kMaxMoments);
  if (report_.moments.size() <= bounded) report_.moments.resize(bounded + 1);
  return report_.moments[bounded];
}

void Load::OnReply(Seat& seat, int64_t now, int64_t latency) {
  ++seat.replies;
  seat.last_reply_ns = now;
  seat.silent = false;
  if (seat.rank != Rank::kBusy) return;
  seat.gaps.Reply(now);
  Moment& moment = MomentAt(now);
  ++moment.replies;
  moment.worst_latency_ns = std::max(moment.worst_latency_ns, latency);
}

void Load::Note(Anomaly anomaly) {
  if (report_.anomalies.size() < LoadReport::kMaxAnomalies) {
    report_.anomalies.push_back(std::move(anomaly));
    return;
  }
  ++report_.anomalies_left_out;
  // A kind of anomaly that has not been seen before takes the place of one of many alike.
  for (const Anomaly& kept : report_.anomalies) {
    if (kept.verdict == anomaly.verdict) return;
  }
  report_.anomalies.back() = std::move(anomaly);
}

void Load::Account(const ClientReport& report) {
  report_.requests += report.requests;
  report_.failed_requests += report.failed;
  report_.bytes_arrived += report.bytes.bytes_arrived;
  report_.bytes_lost += report.bytes.bytes_lost;
  report_.bytes_doubled += report.bytes.bytes_doubled;
  report_.bytes_reordered += report.bytes.bytes_reordered;
  report_.bytes_foreign += report.bytes.bytes_foreign;
  for (const Anomaly& anomaly : report.anomalies) Note(anomaly);
}

void Load::Retire(Seat& seat) {
  if (seat.rank == Rank::kBusy) report_.latency_ns.Merge(seat.client->latencies());
  Account(seat.client->Report());
  seat.client.reset();
}

void Load::TickSeat(Seat& seat, int64_t now) {
  if (seat.client != nullptr) {
    const bool broken = seat.client->broken();
    if (!broken && !seat.client->finished()) return;
    if (broken) {
      ++MomentAt(now).lost;
    } else {
      ++report_.visitors;
    }
    Retire(seat);
    if (!broken) seat.retry_at_ns = now + static_cast<int64_t>(seat.random.Below(kMaxPauseNs));
  }
  if (stopping_ || seat.rank == Rank::kIdle || now < seat.retry_at_ns) return;
  if (const absl::Status status = Fill(seat); !status.ok()) {
    ++report_.refused;
    ++MomentAt(now).lost;
    seat.retry_at_ns = now + kRetryNs;
    if (!seat.refused)
      Note({Verdict::kConnectionRefused, absl::StrCat(seat.kind, " ", seat.number),
            std::string(status.message()), now});
    seat.refused = true;
    return;
  }
  if (seat.rank != Rank::kVisitor) ++report_.reconnections;
  seat.client->Start();
}

void Load::Tick() {
  const int64_t now = NowNs();
  for (const auto& seat : seats_) TickSeat(*seat, now);
  loop_.After(kTick, [this] { Tick(); });
}

void Load::Call(const std::function<void()>& task) {
  std::promise<void> done;
  loop_.Post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

void Load::AskAgain(const std::shared_ptr<Wait>& wait) {
  if (wait->condition()) return wait->result.set_value(true);
  // Time in which this thread did not run is nobody's delay: what came meanwhile is not yet read.
  if (NowNs() > wait->deadline_ns && ++wait->rounds > kOverdueRounds)
    return wait->result.set_value(false);
  loop_.After(absl::Milliseconds(1), [this, wait] { AskAgain(wait); });
}

bool Load::WaitFor(const std::function<bool()>& condition, absl::Duration timeout) {
  auto wait = std::make_shared<Wait>();
  wait->condition = condition;
  wait->deadline_ns = NowNs() + absl::ToInt64Nanoseconds(timeout);
  loop_.Post([this, wait] { AskAgain(wait); });
  return wait->result.get_future().get();
}

void Load::OpenWindow() {
  Call([this] {
    for (const auto& seat : seats_) seat->gaps.Open();
  });
}

std::vector<int64_t> Load::CloseWindow(absl::Duration timeout) {
  const auto open = [](const auto& seat) {
    return seat->rank == Rank::kBusy && !seat->silent && !seat->gaps.closed();
  };
  Call([this] {
    for (const auto& seat : seats_) seat->gaps.Close();
  });
  WaitFor([&] { return std::none_of(seats_.begin(), seats_.end(), open); }, timeout);
  std::vector<int64_t> gaps;
  Call([&] {
    const int64_t now = NowNs();
    for (const auto& seat : seats_) {
      if (seat->rank != Rank::kBusy || seat->silent) continue;
      const int64_t waiting = open(seat) ? now - seat->last_reply_ns : 0;
      gaps.push_back(std::max(seat->gaps.longest_ns(), waiting));
    }
  });
  return gaps;
}

bool Load::AwaitReplies(uint64_t count, absl::Duration timeout) {
  std::vector<uint64_t> goals;
  Call([&] {
    for (const auto& seat : seats_) goals.push_back(seat->replies + count);
  });
  const auto behind = [&](size_t i) {
    return seats_[i]->rank == Rank::kBusy && !seats_[i]->silent && seats_[i]->replies < goals[i];
  };
  const bool all = WaitFor(
      [&] {
        for (size_t i = 0; i < seats_.size(); ++i) {
          if (behind(i)) return false;
        }
        return true;
      },
      timeout);
  if (all) return true;
  Call([&] {
    for (size_t i = 0; i < seats_.size(); ++i) {
      Seat& seat = *seats_[i];
      if (!behind(i)) continue;
      seat.silent = true;
      if (seat.client == nullptr) continue;  // it was complained of as refused
      Note({Verdict::kReplyMissing, seat.client->name(),
            absl::StrCat("no reply for ", (NowNs() - seat.last_reply_ns) / 1'000'000, " ms"),
            seat.last_reply_ns});
    }
  });
  return false;
}

bool Load::ProveIdleAlive(absl::Duration timeout) {
  const auto owing = [](const auto& seat) {
    return seat->rank == Rank::kIdle && !seat->silent && seat->client != nullptr &&
           !seat->client->settled();
  };
  Call([this] {
    for (const auto& seat : seats_) {
      if (seat->rank == Rank::kIdle && seat->client != nullptr && !seat->client->broken())
        seat->client->Prove();
    }
  });
  const bool all =
      WaitFor([&] { return std::none_of(seats_.begin(), seats_.end(), owing); }, timeout);
  if (all) return true;
  Call([&] {
    for (const auto& seat : seats_) {
      if (!owing(seat)) continue;
      seat->silent = true;
      Note({Verdict::kReplyMissing, seat->client->name(), "idle connection that answers no more",
            NowNs()});
    }
  });
  return false;
}

bool Load::StillHere(const Seat& seat) const {
  return seat.rank != Rank::kVisitor && seat.client != nullptr && seat.incarnation == 1 &&
         seat.client->connected() && !seat.client->broken();
}

uint64_t Load::kept() {
  uint64_t count = 0;
  Call([&] {
    for (const auto& seat : seats_) count += StillHere(*seat) ? 1 : 0;
  });
  return count;
}

LoadReport Load::Finish(absl::Duration timeout) {
  if (thread_.joinable()) {
    Call([this] {
      stopping_ = true;
      for (const auto& seat : seats_) {
        if (seat->client != nullptr) seat->client->Stop();
      }
    });
    WaitFor(
        [this] {
          return std::all_of(seats_.begin(), seats_.end(), [](const auto& seat) {
            return seat->client == nullptr || seat->silent || seat->client->settled();
          });
        },
        timeout);
    StopThread();
  }
  for (const auto& seat : seats_) {
    report_.kept += StillHere(*seat) ? 1 : 0;
    if (seat->client != nullptr) Retire(*seat);
  }
  return std::move(report_);
}

}  // namespace liveexec::harness
