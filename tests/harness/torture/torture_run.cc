#include "tests/harness/torture/torture_run.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/error.h"
#include "tests/harness/clock.h"
#include "tests/harness/linearizability.h"
#include "tests/harness/torture/command_line.h"
#include "tests/harness/torture/faults.h"
#include "tests/harness/version_matrix.h"

namespace liveexec::harness {

namespace {

constexpr uint64_t kRepliesAfterwards = 3;  // each busy seat, after each upgrade

// A port that is free now.
int FreePort(int type) {
  const UniqueFd fd(socket(AF_INET, type | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return 0;
  }
  return ntohs(address.sin_port);
}

}  // namespace

TortureRun::TortureRun(TortureOptions options, TortureObserver& observer)
    : options_(std::move(options)), observer_(observer), random_(options_.seed) {
  result_.name = options_.name.empty() ? options_.server : options_.name;
  result_.seed = options_.seed;
  result_.allowed = options_.allowed;
  result_.command = CommandLineOf(options_);
}

void TortureRun::Note(Verdict verdict, const std::string& who, std::string text) {
  result_.anomalies.push_back({verdict, who, std::move(text), NowNs()});
}

absl::Status TortureRun::StartServer() {
  observer_.OnStep("starting the server");
  ServerOptions server;
  std::string command = options_.server;
  const bool datagrams = options_.dialogue == Dialogue::kUdp;
  int port = 0;
  if (absl::StrContains(command, "{port}")) {
    port = FreePort(datagrams ? SOCK_DGRAM : SOCK_STREAM);
    command = absl::StrReplaceAll(command, {{"{port}", absl::StrCat(port)}});
  }
  server.ready_line = options_.ready_line;
  server.ready_unix = options_.unix_path;
  // Nobody can connect to a UDP port, and so find out that it is ready.
  if (!datagrams) server.ready_port = port;
  if (server.ready_line.empty() && (server.ready_unix.empty() && server.ready_port == 0))
    return absl::InvalidArgumentError(
        "--ready-line must say when the server is ready and, without {port}, where its port "
        "stands");
  command = absl::StrReplaceAll(
      command, {{"{binary}", options_.binaries.empty() ? "" : options_.binaries[0]}});
  server.command = {"/bin/sh", "-c", absl::StrCat("exec ", command)};
  LIVEEXEC_ASSIGN_OR_RETURN(server_, ServerUnderTest::Start(server));
  driver_.emplace(options_, *server_);
  if (port == 0) port = server_->port();
  endpoint_ = datagrams ? Endpoint::Udp(port) : Endpoint::Tcp(port);
  if (!options_.unix_path.empty())
    endpoint_ = Endpoint::Unix(driver_->Filled(options_.unix_path, ""));
  if (absl::StrContains(options_.server, "{binary}") && !options_.binaries.empty())
    binary_ = options_.binaries[0];
  result_.server = command;
  result_.pid_before = driver_->serving_pid();
  return absl::OkStatus();
}

absl::Status TortureRun::StartLoad() {
  observer_.OnStep("connecting the clients");
  load_ = std::make_unique<Load>(endpoint_, random_.Next());
  LIVEEXEC_RETURN_IF_ERROR(SeatClients(options_, shared_, *load_));
  load_->Start();
  watch_ = std::make_unique<ResourceWatch>(server_->pid(), absl::Milliseconds(50));
  if (!load_->AwaitReplies(kRepliesAfterwards, absl::Seconds(options_.patience_s)) ||
      !load_->ProveIdleAlive(absl::Seconds(options_.patience_s))) {
    // Not an upgrade's fault, so there is nothing to test.
    const LoadReport report = load_->Finish(absl::ZeroDuration());
    return absl::UnavailableError(
        absl::StrCat("the server does not answer as it should even before the first upgrade",
                     report.anomalies.empty() ? "" : ": " + report.anomalies.front().ToString()));
  }
  process_ = std::make_unique<ProcessJudge>(options_, *server_, *driver_, endpoint_);
  return process_->Begin();
}

void TortureRun::RefuseBinary(FaultKind fault) {
  const std::string path = server_->File("refused-binary");
  const std::string real =
      options_.binaries.empty() ? process_->at_start().executable : options_.binaries[0];
  absl::Status status = fault == FaultKind::kBadBinary ? CopyProgram("/bin/true", path, 1.0)
                                                       : CopyProgram(real, path, 0.5);
  if (status.ok()) status = driver_->ExpectRefusal(path);
  if (!status.ok()) Note(Verdict::kUpgradeFailed, "the upgrade", std::string(status.message()));
}

void TortureRun::Strike(const Fault& fault, UpgradeOutcome& outcome) {
  outcome.faults.push_back({std::string(FaultName(fault.kind)), NowNs()});
  switch (fault.kind) {
    case FaultKind::kBadBinary:
    case FaultKind::kCutBinary:
      return RefuseBinary(fault.kind);
    case FaultKind::kTwice:
      outcome.faults.back().upgraded = driver_->AskAgain(outcome.binary);
      return;
    case FaultKind::kResets:
      return ResetConnections(endpoint_, 20);
    case FaultKind::kFlood:
      return FloodConnections(endpoint_, 200);
    case FaultKind::kStop:
      return StopFor(driver_->serving_pid(), absl::Milliseconds(20));
  }
}

// When to strike, after the upgrade was asked for.
int TortureRun::DelayOf(const Fault& fault) {
  if (fault.delay_ms >= 0) return fault.delay_ms;
  const auto at_random = static_cast<int>(random_.Below(20));
  if (fault.phase.empty() || result_.upgrades.empty()) return at_random;
  const UpgradeOutcome& last = result_.upgrades.back();
  for (const PhaseSpan& phase : last.phases) {
    if (phase.phase == fault.phase)
      return static_cast<int>((phase.start_ns - last.asked_ns + phase.duration_ns / 2 + 500'000) /
                              1'000'000);
  }
  return at_random;
}

std::vector<Struck> TortureRun::StrikeDuring(const std::vector<std::pair<int, Fault>>& faults,
                                             const std::string& binary, int64_t asked_ns) {
  UpgradeOutcome outcome;
  outcome.binary = binary;
  for (const auto& [delay, fault] : faults) {
    const int64_t waited = (NowNs() - asked_ns) / 1'000'000;
    if (delay > waited) poll(nullptr, 0, static_cast<int>(delay - waited));
    Strike(fault, outcome);
  }
  return outcome.faults;
}

UpgradeOutcome TortureRun::Upgrade(int number) {
  UpgradeOutcome outcome;
  outcome.number = number;
  outcome.from = binary_;
  const std::vector<size_t> walk = EveryPairOnce(options_.binaries.size());
  if (!walk.empty())
    outcome.binary = options_.binaries[walk[static_cast<size_t>(number - 1) % walk.size()]];
  // At a random moment of what the clients do.
  poll(nullptr, 0, static_cast<int>(random_.Below(60)));
  for (const Fault& fault : options_.faults.At(number, FaultMoment::kBefore))
    Strike(fault, outcome);
  std::vector<std::pair<int, Fault>> during;
  for (const Fault& fault : options_.faults.At(number, FaultMoment::kDuring))
    during.emplace_back(DelayOf(fault), fault);
  std::stable_sort(during.begin(), during.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Struck> struck;
  const ProcessorWait wait(driver_->serving_pid());
  load_->OpenWindow();
  outcome.asked_ns = NowNs();
  std::thread striker([&] { struck = StrikeDuring(during, outcome.binary, outcome.asked_ns); });
  const absl::Status status = driver_->Upgrade(outcome.binary);
  outcome.done_ns = NowNs();
  striker.join();
  outcome.faults.insert(outcome.faults.end(), struck.begin(), struck.end());
  outcome.gaps_ns = load_->CloseWindow(absl::Seconds(options_.patience_s));
  outcome.machine_ns = wait.SoFarNs();
  // Which of two requests comes first is a matter of chance.
  const bool done = status.ok() || (absl::IsAborted(status) &&
                                    std::any_of(struck.begin(), struck.end(),
                                                [](const Struck& one) { return one.upgraded; }));
  if (!done) {
    outcome.problem = std::string(status.message());
    Note(Verdict::kUpgradeFailed, "the upgrade", outcome.problem);
  } else if (!outcome.binary.empty()) {
    binary_ = outcome.binary;
  }
  for (const Fault& fault : options_.faults.At(number, FaultMoment::kAfter)) Strike(fault, outcome);
  LookAfterwards(outcome);
  return outcome;
}

void TortureRun::LookAfterwards(UpgradeOutcome& outcome) {
  load_->AwaitReplies(kRepliesAfterwards, absl::Seconds(options_.patience_s));
  load_->ProveIdleAlive(absl::Seconds(options_.patience_s));
  process_->AfterUpgrade(outcome);
  // The same clients for as long without an upgrade: what part of a gap is only the machine's.
  load_->OpenWindow();
  poll(nullptr, 0, static_cast<int>((outcome.done_ns - outcome.asked_ns) / 1'000'000) + 1);
  outcome.quiet_gaps_ns = load_->CloseWindow(absl::Seconds(options_.patience_s));
  if (!options_.faults.NeedsPhases()) return;
  std::vector<UpgradeOutcome> one = {outcome};
  driver_->ReadPhases(one);
  outcome.phases = one[0].phases;
}

void TortureRun::CheckHistory() {
  result_.operations_checked = shared_.history.operations().size();
  for (auto& [key, operations] : shared_.history.ByKey()) {
    const bool counter = absl::StrContains(key, ":counter:");
    const LinearizabilityResult checked =
        CheckLinearizable(counter ? CounterModel() : RegisterModel(), operations);
    result_.keys_inconclusive += checked.inconclusive ? 1 : 0;
    if (checked.linearizable) continue;
    Anomaly anomaly{checked.verdict, absl::StrCat("key ", key), checked.explanation, checked.at_ns};
    for (const Operation& operation : checked.context)
      anomaly.history.push_back(operation.ToString(result_.start_ns));
    result_.anomalies.push_back(std::move(anomaly));
  }
}

void TortureRun::Judge() {
  CheckHistory();
  for (const UpgradeOutcome& upgrade : result_.upgrades) {
    const int64_t blamed = result_.blamed_gap_ns(upgrade);
    if (blamed <= options_.max_gap_ms * 1'000'000) continue;
    const int64_t worst = Percentile(upgrade.gaps_ns, 100);
    result_.anomalies.push_back({Verdict::kStalled, "a busy client",
                                 absl::StrCat("waited ", worst / 1'000'000, " ms for a reply, ",
                                              (worst - blamed) / 1'000'000,
                                              " ms of which the machine may be to blame for; ",
                                              options_.max_gap_ms, " ms are allowed"),
                                 upgrade.done_ns});
  }
  for (const auto* more : {&result_.load.anomalies, &process_anomalies_})
    result_.anomalies.insert(result_.anomalies.end(), more->begin(), more->end());
  for (Anomaly& anomaly : result_.anomalies) {
    for (const UpgradeOutcome& upgrade : result_.upgrades) Attribute(upgrade, anomaly);
  }
  std::stable_sort(result_.anomalies.begin(), result_.anomalies.end(),
                   [](const Anomaly& a, const Anomaly& b) { return a.at_ns < b.at_ns; });
}

absl::StatusOr<TortureResult> TortureRun::Run() {
  LIVEEXEC_RETURN_IF_ERROR(StartServer());
  if (const absl::Status started = StartLoad(); !started.ok()) {
    if (options_.keep_log) server_->KeepLog();
    return started;
  }
  result_.start_ns = NowNs();
  observer_.OnStep("upgrading");
  for (int number = 1; number <= options_.upgrades; ++number) {
    result_.upgrades.push_back(Upgrade(number));
    observer_.OnUpgrade(result_.upgrades.back());
    // Then there is nobody to ask for another one.
    if (!server_->running() && options_.pid_file.empty()) break;
  }
  observer_.OnStep("checking what the clients saw");
  driver_->ReadPhases(result_.upgrades);
  result_.pid_after = driver_->serving_pid();
  process_anomalies_ = process_->Judge(result_.upgrades);
  result_.load = load_->Finish(absl::Seconds(options_.patience_s));
  result_.resources = watch_->Finish();
  result_.end_ns = NowNs();
  Judge();
  if (!result_.passed() && options_.keep_log) server_->KeepLog();
  return std::move(result_);
}

}  // namespace liveexec::harness
