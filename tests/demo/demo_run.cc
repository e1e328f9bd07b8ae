#include "tests/demo/demo_run.h"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/error.h"
#include "tests/harness/clock.h"
#include "tests/harness/liveexec_journal.h"
#include "tests/harness/measure.h"
#include "tests/harness/version_matrix.h"

namespace liveexec::demo {

using harness::ClientSwarm;
using harness::Endpoint;
using harness::NowNs;
using harness::Protocol;
using harness::RespClient;
using harness::RespValue;
using harness::ServerUnderTest;
using harness::UpgradeMeans;

namespace {

constexpr size_t kFirstServer = 1;  // of DemoOptions.servers

// No answer comes to a signal: an upgrade that is abandoned shows only in the journal.
constexpr absl::Duration kPatience = absl::Seconds(20);

constexpr int kConnectionAttempts = 2000;  // of 5 ms: how long redis-benchmark may take to connect

std::string ReadyLine(int generation) {
  return absl::StrCat("demo-server ([^ ]+) ready pid=([0-9]+) generation=", generation, "$");
}

// The server of upgrade `number` (from 1): each follows each, itself included.
const std::string& ServerFor(const DemoOptions& options, int number) {
  static const auto walk = harness::EveryPairOnce(options.servers.size());
  const size_t step = walk[static_cast<size_t>(number - 1) % walk.size()];
  return options.servers[(kFirstServer + step) % options.servers.size()];
}

// The value of "name=" in a line of CLIENT LIST.
std::string ClientField(absl::string_view line, absl::string_view name) {
  for (const absl::string_view field : absl::StrSplit(line, ' ')) {
    if (absl::StartsWith(field, absl::StrCat(name, "=")))
      return std::string(field.substr(name.size() + 1));
  }
  return "";
}

}  // namespace

DemoRun::DemoRun(const DemoOptions& options, DemoObserver& observer)
    : options_(options), observer_(observer) {
  result_.options = options;
}

absl::Status DemoRun::StartServer() {
  observer_.OnStep("starting the server");
  LIVEEXEC_ASSIGN_OR_RETURN(
      server_, ServerUnderTest::Start(
                   {.command = {options_.servers[kFirstServer], "--port", "0", "--threads",
                                absl::StrCat(options_.threads), "--control", "{dir}/run/control",
                                "--upgrade-binary", "{dir}/bin/server"},
                    .ready_line = "listening on tcp .*:([0-9]+)$"}));
  LIVEEXEC_ASSIGN_OR_RETURN(const auto ready, server_->WaitForLine(ReadyLine(0)));
  version_ = ready[1];
  result_.pid_before = server_->pid();
  if (mkdir(server_->File("bin").c_str(), 0700) != 0) return ErrnoError(errno, "mkdir");
  LIVEEXEC_ASSIGN_OR_RETURN(admin_, RespClient::Open(Endpoint::Tcp(server_->port())));
  return absl::OkStatus();
}

absl::Status DemoRun::StartClients() {
  const int checking = options_.busy - options_.busy / 2;
  const int benchmark = options_.busy / 2;
  observer_.OnStep(
      absl::StrCat("opening ", options_.idle, " idle and ", options_.busy, " busy connections"));
  swarm_ =
      std::make_unique<ClientSwarm>(Endpoint::Tcp(server_->port()), Protocol::kResp, options_.seed);
  LIVEEXEC_RETURN_IF_ERROR(swarm_->AddIdle(options_.idle));
  LIVEEXEC_RETURN_IF_ERROR(swarm_->AddChecking(checking));
  swarm_->Start();
  if (benchmark > 0) {
    LIVEEXEC_ASSIGN_OR_RETURN(benchmark_, BenchmarkChild::Start(server_->port(), benchmark));
  }
  LIVEEXEC_RETURN_IF_ERROR(AwaitConnections());
  result_.connections_before = static_cast<int>(connections_.size());
  return Verify();
}

// The server's own list of its clients, each as "id addr", without ours that asks.
absl::StatusOr<std::set<std::string>> DemoRun::Connections() {
  LIVEEXEC_RETURN_IF_ERROR(admin_->Send({"CLIENT", "LIST"}));
  LIVEEXEC_ASSIGN_OR_RETURN(const RespValue list, admin_->ReceiveValue());
  if (list.is_error()) return absl::InternalError(absl::StrCat("CLIENT LIST: ", list.text));
  std::set<std::string> connections;
  for (const absl::string_view line : absl::StrSplit(list.text, '\n')) {
    const std::string address = ClientField(line, "addr");
    if (!address.empty() && address != admin_->local_name()) {
      connections.insert(absl::StrCat(ClientField(line, "id"), " ", address));
    }
  }
  return connections;
}

absl::Status DemoRun::AwaitConnections() {
  const size_t expected = static_cast<size_t>(options_.idle) + static_cast<size_t>(options_.busy);
  for (int attempt = 0; attempt < kConnectionAttempts; ++attempt) {
    LIVEEXEC_ASSIGN_OR_RETURN(connections_, Connections());
    if (connections_.size() == expected) return absl::OkStatus();
    poll(nullptr, 0, 5);  // redis-benchmark does not tell when it has connected
  }
  return absl::DeadlineExceededError(
      absl::StrCat("the server has ", connections_.size(), " clients, not ", expected,
                   benchmark_ ? "; redis-benchmark: " + benchmark_->Complaints() : ""));
}

// Returns the version that serves afterwards.
absl::StatusOr<std::string> DemoRun::Ask(bool by_signal, const std::string& binary,
                                         int generation) {
  UpgradeMeans means = UpgradeMeans::Liveexec(options_.liveexec);
  if (by_signal) {
    LIVEEXEC_RETURN_IF_ERROR(server_->Install(binary, "{dir}/bin/server"));
    means = UpgradeMeans::Signal(SIGHUP, "");
  }
  const ServerUnderTest::Mark mark = server_->OutputMark();
  swarm_->OpenWindow();
  LIVEEXEC_RETURN_IF_ERROR(server_->UpgradeTo(binary, means));
  LIVEEXEC_ASSIGN_OR_RETURN(const auto ready,
                            server_->WaitForLine(ReadyLine(generation), mark, kPatience));
  return ready[1];
}

UpgradeResult DemoRun::Upgrade(int number) {
  UpgradeResult upgrade;
  upgrade.number = number;
  upgrade.from = version_;
  const bool by_signal = number % 2 == 1;
  upgrade.asked_by = by_signal ? "SIGHUP" : "liveexec upgrade";
  const std::string& binary = ServerFor(options_, number);
  const int generation = generation_ + 1;
  const int64_t start = NowNs();
  const auto version = Ask(by_signal, binary, generation);
  upgrade.total_ns = NowNs() - start;
  upgrade.gaps_ns = swarm_->CloseWindow();
  if (!version.ok()) {
    upgrade.problem = std::string(version.status().message());
    return upgrade;
  }
  upgrade.committed = true;
  generation_ = generation;
  upgrade.to = version_ = *version;
  if (const absl::Status verified = Verify(); !verified.ok())
    upgrade.problem = std::string(verified.message());
  // The same clients for as long without an upgrade: what part of a gap is only the load's.
  swarm_->OpenWindow();
  poll(nullptr, 0, static_cast<int>(upgrade.total_ns / 1'000'000));
  upgrade.quiet_gaps_ns = swarm_->CloseWindow();
  return upgrade;
}

// Every client is alive, now: the checking ones get on, the idle ones answer, redis-benchmark runs.
absl::Status DemoRun::Verify() {
  LIVEEXEC_RETURN_IF_ERROR(swarm_->AwaitReplies(10));
  LIVEEXEC_RETURN_IF_ERROR(swarm_->ProveIdleAlive());
  if (benchmark_ != nullptr) {
    if (!benchmark_->running()) {
      return absl::UnavailableError(
          absl::StrCat("redis-benchmark ended: ", benchmark_->Complaints()));
    }
    if (const std::string complaints = benchmark_->Complaints(); !complaints.empty()) {
      return absl::DataLossError(absl::StrCat("redis-benchmark: ", complaints));
    }
  }
  if (!server_->running()) return absl::UnavailableError("the server's process is gone");
  return absl::OkStatus();
}

absl::Status DemoRun::ReadHistory() {
  LIVEEXEC_ASSIGN_OR_RETURN(const auto journal,
                            harness::ReadJournal(options_.liveexec, server_->File("run/control")));
  std::map<std::string, std::vector<int64_t>> phases;
  for (const harness::JournalledUpgrade& upgrade : journal) {
    result_.pid_after = upgrade.pid;
    result_.server_blackouts_ns.push_back(upgrade.blackout_ns);
    for (const harness::PhaseSpan& phase : upgrade.phases) {
      if (phases.count(phase.phase) == 0) result_.phase_order.push_back(phase.phase);
      phases[phase.phase].push_back(phase.duration_ns);
    }
  }
  for (const auto& [name, durations] : phases) {
    result_.phase_ns[name] = harness::Percentile(durations, 50);
    result_.phase_worst_ns[name] = harness::Percentile(durations, 100);
  }
  return absl::OkStatus();
}

void DemoRun::Finish() {
  observer_.OnStep("reading everything back");
  const auto note = [this](const absl::Status& status) {
    if (!status.ok()) result_.problems.emplace_back(status.message());
  };
  note(Verify());
  if (const auto now = Connections(); now.ok()) {
    std::vector<std::string> kept;
    std::set_intersection(connections_.begin(), connections_.end(), now->begin(), now->end(),
                          std::back_inserter(kept));
    result_.connections_after = static_cast<int>(kept.size());
  } else {
    note(now.status());
  }
  note(ReadHistory());
  if (server_->running() && result_.pid_after != server_->pid()) {
    result_.problems.push_back(absl::StrCat("the journal names PID ", result_.pid_after));
  }
  result_.clients = swarm_->Finish();
  if (benchmark_ != nullptr) {
    result_.benchmark_requests_per_second = benchmark_->RequestsPerSecond();
    result_.benchmark_problem = benchmark_->Complaints();
    if (!benchmark_->running())
      absl::StrAppend(&result_.benchmark_problem, "it ended before the demo did");
    result_.benchmark_errors = result_.benchmark_problem.empty() ? 0 : 1;
    benchmark_.reset();
  }
  admin_.reset();
  const auto exit = server_->Stop();
  if (!exit.ok() || !exit->ok()) {
    result_.problems.push_back(
        absl::StrCat("SIGTERM did not end the server cleanly: ",
                     exit.ok() ? exit->ToString() : std::string(exit.status().message())));
  }
  if (!result_.ok()) server_->KeepLog();
}

absl::StatusOr<DemoResult> DemoRun::Run() {
  const int64_t start = NowNs();
  LIVEEXEC_RETURN_IF_ERROR(StartServer());
  if (const absl::Status started = StartClients(); !started.ok()) {
    server_->KeepLog();
    return started;
  }
  observer_.OnStep("upgrading");
  for (int number = 1; number <= options_.upgrades && server_->running(); ++number) {
    result_.upgrades.push_back(Upgrade(number));
    observer_.OnUpgrade(result_.upgrades.back());
  }
  Finish();
  result_.seconds = static_cast<double>(NowNs() - start) / 1e9;
  return std::move(result_);
}

}  // namespace liveexec::demo
