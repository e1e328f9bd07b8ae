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

constexpr int64_t kSettleNs = 3'000'000'000;  // until what an upgrade left behind is gone
constexpr uint64_t kRepliesAfterwards = 3;    // each busy seat, after each upgrade

// A socket without a name is a connection that has just ended, or is just being made.
bool IsFd(const std::string& difference) {
  return absl::StartsWith(difference, "fds") && !absl::StrContains(difference, " socket ");
}
bool IsThread(const std::string& difference) { return absl::StartsWith(difference, "threads"); }
bool IsChild(const std::string& difference) { return absl::StartsWith(difference, "child: -"); }
bool IsLock(const std::string& difference) { return absl::StartsWith(difference, "lock: -"); }
// What the kernel shows is what the program was started with: the one part of a process that an
// exec has to be given anew, and that a program may have changed since.
bool IsEnvironment(const std::string& difference) {
  return absl::StartsWith(difference, "environment");
}
bool MeansNothing(const std::string& difference) {
  return IsEnvironment(difference) || (absl::StartsWith(difference, "fds") && !IsFd(difference));
}
bool IsZombie(const std::string& difference) { return absl::StrContains(difference, "(zombie)"); }

// A port that is free now.
int FreePort() {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
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
  if (absl::StrContains(command, "{port}")) {
    server.ready_port = FreePort();
    command = absl::StrReplaceAll(command, {{"{port}", absl::StrCat(server.ready_port)}});
  }
  server.ready_line = options_.ready_line;
  if (server.ready_port == 0 && server.ready_line.empty())
    return absl::InvalidArgumentError(
        "without {port} in --server, --ready-line must say where the port stands");
  command = absl::StrReplaceAll(
      command, {{"{binary}", options_.binaries.empty() ? "" : options_.binaries[0]}});
  server.command = {"/bin/sh", "-c", absl::StrCat("exec ", command)};
  LIVEEXEC_ASSIGN_OR_RETURN(server_, ServerUnderTest::Start(server));
  driver_.emplace(options_, *server_);
  result_.server = command;
  result_.pid_before = driver_->serving_pid();
  return absl::OkStatus();
}

absl::Status TortureRun::StartLoad() {
  observer_.OnStep("connecting the clients");
  load_ = std::make_unique<Load>(Endpoint::Tcp(server_->port()), random_.Next());
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
  LIVEEXEC_ASSIGN_OR_RETURN(at_start_, TakeSnapshot(driver_->serving_pid()));
  return absl::OkStatus();
}

void TortureRun::RefuseBinary(FaultKind fault) {
  const std::string path = server_->File("refused-binary");
  const std::string real = options_.binaries.empty() ? at_start_.executable : options_.binaries[0];
  absl::Status status = fault == FaultKind::kBadBinary ? CopyProgram("/bin/true", path, 1.0)
                                                       : CopyProgram(real, path, 0.5);
  if (status.ok()) status = driver_->ExpectRefusal(path);
  if (!status.ok()) Note(Verdict::kUpgradeFailed, "the upgrade", std::string(status.message()));
}

void TortureRun::Strike(FaultKind fault, const std::string& binary) {
  switch (fault) {
    case FaultKind::kBadBinary:
    case FaultKind::kCutBinary:
      return RefuseBinary(fault);
    case FaultKind::kTwice:
      return driver_->AskAgain(binary);
    case FaultKind::kResets:
      return ResetConnections(Endpoint::Tcp(server_->port()), 20);
    case FaultKind::kFlood:
      return FloodConnections(Endpoint::Tcp(server_->port()), 200);
    case FaultKind::kStop:
      return StopFor(driver_->serving_pid(), absl::Milliseconds(20));
  }
}

void TortureRun::StrikeAll(int number, FaultMoment moment, UpgradeOutcome& outcome) {
  for (const FaultKind fault : options_.faults.At(number, moment)) {
    outcome.faults.emplace_back(FaultName(fault));
    Strike(fault, outcome.binary);
  }
}

UpgradeOutcome TortureRun::Upgrade(int number) {
  UpgradeOutcome outcome{.number = number};
  const std::vector<size_t> walk = EveryPairOnce(options_.binaries.size());
  if (!walk.empty())
    outcome.binary = options_.binaries[walk[static_cast<size_t>(number - 1) % walk.size()]];
  // At a random moment of what the clients do.
  poll(nullptr, 0, static_cast<int>(random_.Below(60)));
  StrikeAll(number, FaultMoment::kBefore, outcome);
  const auto delay = static_cast<int>(random_.Below(20));
  UpgradeOutcome during;
  load_->OpenWindow();
  outcome.asked_ns = NowNs();
  std::thread striker([&] {
    if (options_.faults.At(number, FaultMoment::kDuring).empty()) return;
    poll(nullptr, 0, delay);
    during.binary = outcome.binary;
    StrikeAll(number, FaultMoment::kDuring, during);
  });
  const absl::Status status = driver_->Upgrade(outcome.binary);
  outcome.done_ns = NowNs();
  striker.join();
  outcome.faults.insert(outcome.faults.end(), during.faults.begin(), during.faults.end());
  outcome.gaps_ns = load_->CloseWindow(absl::Seconds(options_.patience_s));
  if (!status.ok()) {
    outcome.problem = std::string(status.message());
    Note(Verdict::kUpgradeFailed, "the upgrade", outcome.problem);
  }
  StrikeAll(number, FaultMoment::kAfter, outcome);
  load_->AwaitReplies(kRepliesAfterwards, absl::Seconds(options_.patience_s));
  load_->ProveIdleAlive(absl::Seconds(options_.patience_s));
  LookAtProcess(outcome);
  // The same clients for as long without an upgrade: what part of a gap is only the machine's.
  load_->OpenWindow();
  poll(nullptr, 0, static_cast<int>((outcome.done_ns - outcome.asked_ns) / 1'000'000) + 1);
  outcome.quiet_gaps_ns = load_->CloseWindow(absl::Seconds(options_.patience_s));
  return outcome;
}

// Waits, a while, until what the upgrade needed for itself is gone.
void TortureRun::LookAtProcess(UpgradeOutcome& outcome) {
  const int64_t deadline = NowNs() + kSettleNs;
  const Snapshot& reference = base_ ? *base_ : at_start_;
  DiffOptions diff;
  diff.connections = false;
  absl::StatusOr<Snapshot> snapshot;
  size_t differences = 0;
  for (int round = 0; round < 60; ++round) {
    snapshot = TakeSnapshot(driver_->serving_pid());
    if (!snapshot.ok()) break;
    auto found = Differences(reference, *snapshot, diff);
    found.erase(std::remove_if(found.begin(), found.end(), MeansNothing), found.end());
    // The first upgrade may change things for good: what counts then is that they stay.
    const bool steady = base_ ? found.empty() : round > 2 && found.size() == differences;
    differences = found.size();
    if (steady || NowNs() > deadline) break;
    poll(nullptr, 0, 50);
  }
  if (!server_->running() && options_.pid_file.empty()) {
    const auto exit = server_->WaitForExit(absl::ZeroDuration());
    if (!Dial(Endpoint::Tcp(server_->port())).ok()) {
      return Note(Verdict::kServerDied, "the process",
                  absl::StrCat("it ended: ", exit.ok() ? exit->ToString() : "unknown"));
    }
    return Note(Verdict::kPidChanged, "the process",
                absl::StrCat("process ", result_.pid_before, " ended (",
                             exit.ok() ? exit->ToString() : "unknown", "); another one serves"));
  }
  if (!snapshot.ok()) return;
  outcome.pid = snapshot->pid;
  outcome.resident_bytes = snapshot->resident_bytes;
  outcome.processes = ResourceWatch::SampleOf(server_->pid()).processes;
  for (const FdInfo& fd : snapshot->fds) outcome.fds += absl::StartsWith(fd.kind, "tcp") ? 0 : 1;
  CompareProcess(*snapshot);
  base_ = base_ ? base_ : std::optional<Snapshot>(*snapshot);
}

// What the process is must not change; what it holds must not grow from the first upgrade on.
void TortureRun::CompareProcess(const Snapshot& now) {
  DiffOptions diff;
  diff.connections = false;
  if (now.pid != at_start_.pid) {
    return Note(Verdict::kPidChanged, "the process",
                absl::StrCat("process ", now.pid, " serves instead of ", at_start_.pid));
  }
  for (const std::string& difference : Differences(at_start_, now, diff)) {
    if (IsChild(difference) || IsZombie(difference)) {
      Note(Verdict::kChildForgotten, "the process", difference);
    } else if (IsLock(difference)) {
      Note(Verdict::kLockLost, "the process", difference);
    } else if (!absl::StartsWith(difference, "fds") && !IsThread(difference) &&
               !MeansNothing(difference) && !absl::StartsWith(difference, "child") &&
               !absl::StartsWith(difference, "lock")) {
      Note(Verdict::kProcessChanged, "the process", difference);
    }
  }
  if (!base_) return;
  for (const std::string& difference : Differences(*base_, now, diff)) {
    if (IsFd(difference)) Note(Verdict::kFdLeaked, "the process", difference);
    if (IsThread(difference)) Note(Verdict::kThreadLeaked, "the process", difference);
  }
}

void TortureRun::CompareMemory() {
  const UpgradeOutcome* first = nullptr;
  const UpgradeOutcome* last = nullptr;
  for (const UpgradeOutcome& upgrade : result_.upgrades) {
    if (upgrade.resident_bytes == 0 || upgrade.pid != result_.pid_before) continue;
    if (first == nullptr) first = &upgrade;
    last = &upgrade;
  }
  if (first == nullptr || last->number < first->number + 2) return;
  const int64_t each =
      (last->resident_bytes - first->resident_bytes) / (last->number - first->number) / 1024;
  if (each <= options_.max_growth_kib) return;
  Note(Verdict::kMemoryLeaked, "the process",
       absl::StrCat("resident memory grows by ", each, " KiB with each upgrade: ",
                    first->resident_bytes / 1024, " KiB after upgrade ", first->number, ", ",
                    last->resident_bytes / 1024, " KiB after upgrade ", last->number));
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

// To which upgrade, and which of its phases, an anomaly belongs.
void TortureRun::Attribute(Anomaly& anomaly) const {
  for (const UpgradeOutcome& upgrade : result_.upgrades) {
    if (upgrade.asked_ns > anomaly.at_ns) break;
    anomaly.upgrade = upgrade.number;
    anomaly.binary = upgrade.binary;
    anomaly.phase = anomaly.at_ns <= upgrade.done_ns ? "asked for" : "after it";
    for (const PhaseSpan& phase : upgrade.phases) {
      if (anomaly.at_ns >= phase.start_ns && anomaly.at_ns <= phase.start_ns + phase.duration_ns)
        anomaly.phase = phase.phase;
    }
  }
}

void TortureRun::Judge() {
  CompareMemory();
  CheckHistory();
  for (const UpgradeOutcome& upgrade : result_.upgrades) {
    const auto worst = std::max_element(upgrade.gaps_ns.begin(), upgrade.gaps_ns.end());
    if (worst == upgrade.gaps_ns.end() || *worst <= options_.max_gap_ms * 1'000'000) continue;
    result_.anomalies.push_back({Verdict::kStalled, "a busy client",
                                 absl::StrCat("waited ", *worst / 1'000'000, " ms for a reply; ",
                                              options_.max_gap_ms, " ms are allowed"),
                                 upgrade.done_ns});
  }
  result_.anomalies.insert(result_.anomalies.end(), result_.load.anomalies.begin(),
                           result_.load.anomalies.end());
  for (Anomaly& anomaly : result_.anomalies) Attribute(anomaly);
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
  result_.load = load_->Finish(absl::Seconds(options_.patience_s));
  result_.resources = watch_->Finish();
  result_.end_ns = NowNs();
  Judge();
  if (!result_.passed() && options_.keep_log) server_->KeepLog();
  return std::move(result_);
}

}  // namespace liveexec::harness
