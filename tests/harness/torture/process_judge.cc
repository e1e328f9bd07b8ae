#include "tests/harness/torture/process_judge.h"

#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "tests/harness/clock.h"
#include "tests/harness/resource_watch.h"

namespace liveexec::harness {

namespace {

constexpr int64_t kSettleNs = 1'000'000'000;       // after each upgrade
constexpr int64_t kLastSettleNs = 10'000'000'000;  // until what an upgrade left behind is gone
constexpr int kRoundMs = 100;
constexpr int kSteadyRounds = 3;

// A socket without a name is a connection that has just ended, or is just being made.
bool IsFd(const std::string& difference) {
  return absl::StartsWith(difference, "fds") && !absl::StrContains(difference, " socket ");
}
// What the kernel shows is what the program was started with: the one part of a process that an
// exec has to be given anew, and that a program may have changed since.
bool IsEnvironment(const std::string& difference) {
  return absl::StartsWith(difference, "environment");
}
bool IsZombie(const std::string& difference) { return absl::StrContains(difference, "(zombie)"); }

// What it is, not what it holds.
bool IsTrait(const std::string& difference) {
  for (const char* other : {"fds", "threads", "child", "lock"}) {
    if (absl::StartsWith(difference, other)) return false;
  }
  return !IsEnvironment(difference);
}

DiffOptions Diff() {
  DiffOptions options;
  options.connections = false;
  return options;
}

std::map<pid_t, int64_t> ProcessorWaits(pid_t pid) {
  std::map<pid_t, int64_t> waits;
  std::error_code error;
  for (const auto& thread :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/task"), error)) {
    std::ifstream file(thread.path() / "schedstat");
    int64_t ran = 0;
    int64_t waited = 0;
    if (file >> ran >> waited) waits[std::atoi(thread.path().filename().c_str())] = waited;
  }
  return waits;
}

}  // namespace

ProcessorWait::ProcessorWait(pid_t pid) : pid_(pid), at_start_(ProcessorWaits(pid)) {}

int64_t ProcessorWait::SoFarNs() const {
  int64_t longest = 0;
  for (const auto& [thread, waited] : ProcessorWaits(pid_)) {
    const auto before = at_start_.find(thread);
    longest = std::max(longest, waited - (before == at_start_.end() ? 0 : before->second));
  }
  return longest;
}

absl::Status ProcessJudge::Begin() {
  LIVEEXEC_ASSIGN_OR_RETURN(at_start_, TakeSnapshot(driver_.serving_pid()));
  return absl::OkStatus();
}

void ProcessJudge::Note(Verdict verdict, std::string text) {
  const auto first = first_seen_ns_.find(verdict);
  anomalies_.push_back({verdict, "the process", std::move(text),
                        first == first_seen_ns_.end() ? NowNs() : first->second});
}

// What the process is must not change; what it holds must not grow from the first upgrade on.
std::vector<ProcessJudge::Finding> ProcessJudge::FindingsIn(const Snapshot& now) const {
  std::vector<Finding> findings;
  if (now.pid != at_start_.pid) return findings;
  for (const std::string& difference : Differences(at_start_, now, Diff())) {
    if (absl::StartsWith(difference, "child: -") || IsZombie(difference)) {
      findings.emplace_back(Verdict::kChildForgotten, difference);
    } else if (absl::StartsWith(difference, "lock: -")) {
      findings.emplace_back(Verdict::kLockLost, difference);
    } else if (IsTrait(difference)) {
      findings.emplace_back(Verdict::kProcessChanged, difference);
    }
  }
  if (!base_) return findings;
  for (const std::string& difference : Differences(*base_, now, Diff())) {
    if (IsFd(difference)) findings.emplace_back(Verdict::kFdLeaked, difference);
    if (absl::StartsWith(difference, "threads"))
      findings.emplace_back(Verdict::kThreadLeaked, difference);
  }
  return findings;
}

// Waits, a while, until nothing is wrong, or (before there is anything to compare with) until
// nothing changes any more.
absl::StatusOr<Snapshot> ProcessJudge::SettledSnapshot(int64_t patience_ns) {
  const int64_t deadline = NowNs() + patience_ns;
  absl::StatusOr<Snapshot> last = TakeSnapshot(driver_.serving_pid());
  for (int steady = 0; last.ok();) {
    if (base_ ? FindingsIn(*last).empty() : steady >= kSteadyRounds) break;
    if (NowNs() > deadline) break;
    poll(nullptr, 0, kRoundMs);
    absl::StatusOr<Snapshot> next = TakeSnapshot(driver_.serving_pid());
    if (!next.ok()) return next;
    auto changes = Differences(*last, *next, Diff());
    changes.erase(std::remove_if(changes.begin(), changes.end(),
                                 [](const std::string& change) {
                                   return absl::StartsWith(change, "fds") && !IsFd(change);
                                 }),
                  changes.end());
    steady = changes.empty() ? steady + 1 : 0;
    last = std::move(next);
  }
  return last;
}

// The process that was started is gone: does another one serve?
bool ProcessJudge::NoteEnd() {
  if (server_.running() || !options_.pid_file.empty()) return false;
  const auto exit = server_.WaitForExit(absl::ZeroDuration());
  const std::string how = exit.ok() ? exit->ToString() : "unknown";
  if (!Dial(endpoint_).ok()) {
    Note(Verdict::kServerDied, absl::StrCat("it ended: ", how));
  } else {
    Note(Verdict::kPidChanged,
         absl::StrCat("process ", at_start_.pid, " ended (", how, "); another one serves"));
  }
  return true;
}

void ProcessJudge::AfterUpgrade(UpgradeOutcome& outcome) {
  const auto snapshot = SettledSnapshot(base_ ? kSettleNs : kLastSettleNs);
  if (NoteEnd() || !snapshot.ok()) return;
  outcome.pid = snapshot->pid;
  outcome.resident_bytes = snapshot->resident_bytes;
  outcome.processes = ResourceWatch::SampleOf(server_.pid()).processes;
  for (const FdInfo& fd : snapshot->fds) outcome.fds += absl::StartsWith(fd.kind, "tcp") ? 0 : 1;
  if (snapshot->pid != at_start_.pid) {
    return Note(Verdict::kPidChanged,
                absl::StrCat("process ", snapshot->pid, " serves instead of ", at_start_.pid));
  }
  if (!base_) base_ = *snapshot;
  for (const auto& [verdict, text] : FindingsIn(*snapshot))
    first_seen_ns_.emplace(verdict, NowNs());
}

void ProcessJudge::JudgeMemory(const std::vector<UpgradeOutcome>& upgrades) {
  const UpgradeOutcome* first = nullptr;
  const UpgradeOutcome* last = nullptr;
  for (const UpgradeOutcome& upgrade : upgrades) {
    if (upgrade.resident_bytes == 0 || upgrade.pid != at_start_.pid) continue;
    if (first == nullptr) first = &upgrade;
    last = &upgrade;
  }
  if (first == nullptr || last->number < first->number + 2) return;
  const int64_t each =
      (last->resident_bytes - first->resident_bytes) / (last->number - first->number) / 1024;
  if (each <= options_.max_growth_kib) return;
  Note(Verdict::kMemoryLeaked,
       absl::StrCat("resident memory grows by ", each, " KiB with each upgrade: ",
                    first->resident_bytes / 1024, " KiB after upgrade ", first->number, ", ",
                    last->resident_bytes / 1024, " KiB after upgrade ", last->number));
}

std::vector<Anomaly> ProcessJudge::Judge(const std::vector<UpgradeOutcome>& upgrades) {
  JudgeMemory(upgrades);
  // Without a base there was no upgrade after which the process that was started still served.
  if (!base_ || !server_.running()) return std::move(anomalies_);
  const auto snapshot = SettledSnapshot(kLastSettleNs);
  if (snapshot.ok()) {
    for (auto& [verdict, text] : FindingsIn(*snapshot)) Note(verdict, text);
  }
  return std::move(anomalies_);
}

}  // namespace liveexec::harness
