#include "tests/harness/client_swarm.h"

#include <algorithm>
#include <future>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

namespace {

constexpr size_t kMaxProblems = 50;
constexpr absl::Duration kAskAgain = absl::Milliseconds(1);

}  // namespace

// A condition that the clients' thread asks until it holds or time is up.
struct WaitState {
  std::function<bool()> condition;
  int64_t deadline_ns = 0;
  std::promise<bool> result;
};

void SwarmReport::AttributeTo(const UpgradeTimeline& timeline) {
  if (anomalies.empty()) return;
  problems.clear();
  for (Anomaly& anomaly : anomalies) {
    for (const UpgradeSpan& upgrade : timeline.upgrades()) Attribute(upgrade, anomaly);
    problems.push_back(anomaly.ToString());
  }
}

std::string SwarmReport::ToString() const {
  return absl::StrCat(connections_kept, " of ", clients, " connections kept, ", failed_requests,
                      " of ", requests, " requests failed, ", bytes_lost, " bytes lost, ",
                      bytes_doubled, " doubled, ", bytes_foreign, " foreign of ", bytes_arrived,
                      problems.empty() ? "" : "\n  ", absl::StrJoin(problems, "\n  "));
}

ClientSwarm::ClientSwarm(Endpoint endpoint, Protocol protocol, uint64_t seed)
    : endpoint_(std::move(endpoint)), protocol_(protocol), random_(seed) {}

ClientSwarm::~ClientSwarm() { StopThread(); }

void ClientSwarm::StopThread() {
  if (!thread_.joinable()) return;
  loop_.Stop();
  thread_.join();
}

absl::Status ClientSwarm::AddIdle(int count) {
  for (int i = 0; i < count; ++i) {
    LIVEEXEC_ASSIGN_OR_RETURN(IdleClient * client,
                              Add<IdleClient>({}, absl::StrCat("idle client ", idle_.size()),
                                              protocol_, random_.Fork(clients_.size())));
    idle_.push_back(client);
  }
  return absl::OkStatus();
}

absl::Status ClientSwarm::AddChecking(int count, CheckingOptions options) {
  for (int i = 0; i < count; ++i) {
    const std::string name = absl::StrCat("checking client ", checking_.size());
    const Random random = random_.Fork(clients_.size());
    if (protocol_ == Protocol::kEcho) {
      LIVEEXEC_ASSIGN_OR_RETURN(Client * client, Add<EchoClient>({}, name, random, options));
      checking_.push_back(client);
    } else {
      LIVEEXEC_ASSIGN_OR_RETURN(Client * client, Add<RecordClient>({}, name, random, options));
      checking_.push_back(client);
    }
  }
  return absl::OkStatus();
}

void ClientSwarm::Start() {
  for (const auto& client : clients_) {
    loop_.Post([&client] { client->Start(); });
  }
  thread_ = std::thread([this] { loop_.Run(); });
}

void ClientSwarm::Call(const std::function<void()>& task) {
  std::promise<void> done;
  loop_.Post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

void ClientSwarm::PostCheck(const std::shared_ptr<WaitState>& state) {
  if (state->condition()) return state->result.set_value(true);
  if (NowNs() > state->deadline_ns) return state->result.set_value(false);
  loop_.After(kAskAgain, [this, state] { PostCheck(state); });
}

bool ClientSwarm::WaitFor(const std::function<bool()>& condition, absl::Duration timeout) {
  auto state = std::make_shared<WaitState>();
  state->condition = condition;
  state->deadline_ns = NowNs() + absl::ToInt64Nanoseconds(timeout);
  loop_.Post([this, state] { PostCheck(state); });
  return state->result.get_future().get();
}

absl::Status ClientSwarm::ProveIdleAlive(absl::Duration timeout) {
  Call([this] {
    for (IdleClient* client : idle_) client->Prove();
  });
  const auto settled = [](const IdleClient* client) { return client->settled(); };
  WaitFor([&] { return std::all_of(idle_.begin(), idle_.end(), settled); }, timeout);
  std::vector<std::string> silent;
  Call([&] {
    for (size_t i = 0; i < idle_.size(); ++i) {
      if (idle_[i]->broken() || !idle_[i]->settled()) {
        silent.push_back(absl::StrCat(i, " (", idle_[i]->local_name(), ")"));
      }
    }
  });
  if (silent.empty()) return absl::OkStatus();
  const size_t count = silent.size();
  silent.resize(std::min<size_t>(count, 10));
  return absl::UnavailableError(
      absl::StrCat(count, " idle clients are dead or silent: ", absl::StrJoin(silent, ", ")));
}

absl::Status ClientSwarm::AwaitReplies(uint64_t count, absl::Duration timeout) {
  std::vector<uint64_t> goals;
  Call([&] {
    for (Client* client : checking_) goals.push_back(client->replies() + count);
  });
  const bool all = WaitFor(
      [&] {
        for (size_t i = 0; i < checking_.size(); ++i) {
          if (!checking_[i]->broken() && checking_[i]->replies() < goals[i]) return false;
        }
        return true;
      },
      timeout);
  if (!all) return absl::DeadlineExceededError("a checking client gets no replies");
  if (broken()) return absl::DataLossError("a client has seen something wrong");
  return absl::OkStatus();
}

bool ClientSwarm::broken() {
  bool any = false;
  Call([&] {
    any = std::any_of(clients_.begin(), clients_.end(),
                      [](const auto& client) { return client->broken(); });
  });
  return any;
}

void ClientSwarm::OpenWindow() {
  Call([this] {
    for (Client* client : checking_) client->gaps().Open();
  });
}

std::vector<int64_t> ClientSwarm::CloseWindow(absl::Duration timeout) {
  Call([this] {
    for (Client* client : checking_) client->gaps().Close();
  });
  WaitFor(
      [this] {
        return std::all_of(checking_.begin(), checking_.end(), [](Client* client) {
          return client->gaps().closed() || client->broken();
        });
      },
      timeout);
  std::vector<int64_t> gaps;
  Call([&] {
    for (Client* client : checking_) {
      if (client->gaps().closed()) gaps.push_back(client->gaps().longest_ns());
    }
  });
  return gaps;
}

SwarmReport ClientSwarm::Finish(absl::Duration timeout) {
  if (thread_.joinable()) {
    Call([this] {
      for (const auto& client : clients_) client->Stop();
    });
    WaitFor(
        [this] {
          return std::all_of(clients_.begin(), clients_.end(),
                             [](const auto& client) { return client->settled(); });
        },
        timeout);
    StopThread();
  }
  SwarmReport report;
  for (const auto& client : clients_) {
    const ClientReport one = client->Report();
    ++report.clients;
    report.connections_kept += one.connected ? 1 : 0;
    report.requests += one.requests;
    report.failed_requests += one.failed;
    report.bytes_arrived += one.bytes.bytes_arrived;
    report.bytes_lost += one.bytes.bytes_lost;
    report.bytes_doubled += one.bytes.bytes_doubled + one.bytes.bytes_reordered;
    report.bytes_foreign += one.bytes.bytes_foreign;
    for (const std::string& problem : one.problems) {
      if (report.problems.size() < kMaxProblems)
        report.problems.push_back(absl::StrCat(one.client, ": ", problem));
    }
    for (const Anomaly& anomaly : one.anomalies) {
      if (report.anomalies.size() < kMaxProblems) report.anomalies.push_back(anomaly);
    }
  }
  for (Client* client : checking_) report.latency_ns.Merge(client->latencies());
  return report;
}

}  // namespace liveexec::harness
