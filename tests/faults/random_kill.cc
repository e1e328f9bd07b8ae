#include "tests/faults/random_kill.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "handoff/flight_recorder.h"
#include "tests/faults/fault_run.h"
#include "tests/harness/clock.h"
#include "tests/harness/random.h"

namespace liveexec::faults {
namespace {

constexpr int64_t kMarginNs = 500'000;

enum class Stage { kBeforeSeal, kBetween, kAfterCommit };

const char* NameOf(Stage stage) {
  switch (stage) {
    case Stage::kBeforeSeal:
      return "before the seal";
    case Stage::kBetween:
      return "between seal and commit";
    case Stage::kAfterCommit:
      return "after the commit";
  }
  return "";
}

// How long a normal crossing takes, from the first component's export to its end.
int64_t MeasureCrossingNs(FaultRun& run) {
  if (run.Upgrade(FaultRun::Program("v2")).outcome != "B") {
    throw std::runtime_error("a normal upgrade fails");
  }
  int64_t start_ns = 0, end_ns = 0;
  for (const PhaseTime& phase : run.entry().phases) {
    if (phase.phase == "exporting") start_ns = phase.start_ns;
    end_ns = std::max(end_ns, phase.start_ns + phase.duration_ns);
  }
  return end_ns - start_ns;
}

// A moment is a time: this is the one place that waits for one.
void SleepUntil(int64_t monotonic_ns) {
  const struct timespec until = {monotonic_ns / 1'000'000'000, monotonic_ns % 1'000'000'000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
}

void StopProcess(pid_t pid) {
  kill(pid, SIGSTOP);
  siginfo_t info;
  if (waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED) != 0) {
    throw std::runtime_error("the server cannot be stopped");
  }
}

// The custodian has the old program's memory, and in it the record that both programs write.
Stage StageOf(pid_t custodian) {
  std::ifstream maps(absl::StrCat("/proc/", custodian, "/maps"));
  const UniqueFd memory(
      open(absl::StrCat("/proc/", custodian, "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  for (std::string line; std::getline(maps, line);) {
    uint64_t start = 0;
    if (!absl::StrContains(line, "liveexec-recorder") ||
        !absl::SimpleHexAtoi(line.substr(0, line.find('-')), &start)) {
      continue;
    }
    alignas(FlightRecord) char bytes[sizeof(FlightRecord)];
    if (pread(memory.get(), bytes, sizeof(bytes), static_cast<off_t>(start)) != sizeof(bytes)) {
      continue;
    }
    const auto& record = *reinterpret_cast<const FlightRecord*>(bytes);
    if (record.magic != FlightRecord::kMagic || record.custodian_pid != custodian) continue;
    if (record.commit_started != 0) return Stage::kAfterCommit;
    return record.sealed == 1 ? Stage::kBetween : Stage::kBeforeSeal;
  }
  return Stage::kBeforeSeal;
}

Stage StageOfStopped(FaultRun& run) {
  const pid_t custodian = run.CustodianPid();
  if (custodian != 0) return StageOf(custodian);
  // Nobody is on guard before the blackout, nor after the commit: nothing is promised in either.
  return Stage::kAfterCommit;
}

void Play(FaultRun& run, harness::Random random, CellResult& result) {
  const int64_t span_ns = MeasureCrossingNs(run) + kMarginNs;
  run.ProveClients();
  run.SetPlan("v2 upgrade export stop");
  run.BeginUpgrade(FaultRun::Program("v1"));
  // First in the snapshot for the rehearsal.
  run.AwaitStop();
  run.Go();
  run.AwaitStop();
  run.SetPlan("");
  run.Go();
  SleepUntil(harness::NowNs() + static_cast<int64_t>(random.Below(static_cast<uint64_t>(span_ns))));
  StopProcess(run.pid());
  const Stage stage = StageOfStopped(run);
  kill(run.pid(), SIGKILL);
  result.cell = absl::StrCat("79 KilledAtRandom, ", NameOf(stage));
  result.promised = std::string(1, stage == Stage::kBetween ? 'R' : 'D');
  result.seen = run.AwaitUpgrade();
  if (stage == Stage::kBetween) {
    run.Expect(result.seen.outcome == "R",
               absl::StrCat("promised R, seen ", result.seen.outcome, " ", result.seen.message));
    run.Prove(Proof::kServes);
    return;
  }
  // The answer may have come before the end.
  result.seen = {"D", result.seen.code, result.seen.message};
  run.Prove(Proof::kLost);
}

}  // namespace

CellResult KillAtRandom(int threads, uint64_t seed) {
  CellResult result{.cell = "79 KilledAtRandom", .threads = threads, .promised = "R|D"};
  try {
    FaultRun run({.threads = threads});
    try {
      Play(run, harness::Random(seed), result);
    } catch (const std::exception& error) {
      result.problems.push_back(error.what());
    }
    for (const std::string& problem : run.problems()) result.problems.push_back(problem);
    if (!result.ok()) run.KeepLog();
  } catch (const std::exception& error) {
    result.problems.push_back(error.what());
  }
  return result;
}

}  // namespace liveexec::faults
