// ProcessJudge: what a server's process shows of its upgrades, without its help.
//
// It looks after each upgrade, and judges at the end: what an upgrade needs for a while (a
// custodian, a rehearsal, their fds) is gone by then, however slow the machine is, and what leaks
// is still there. What was seen first when is kept, so that an anomaly names its upgrade.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_PROCESS_JUDGE_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_PROCESS_JUDGE_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/server_under_test.h"
#include "tests/harness/snapshot.h"
#include "tests/harness/torture/options.h"
#include "tests/harness/torture/result.h"
#include "tests/harness/torture/upgrade_driver.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {

class ProcessJudge {
 public:
  // All borrowed.
  ProcessJudge(const TortureOptions& options, ServerUnderTest& server, UpgradeDriver& driver,
               const Endpoint& endpoint)
      : options_(options), server_(server), driver_(driver), endpoint_(endpoint) {}

  // Before the first upgrade, with all connections open.
  absl::Status Begin();
  const Snapshot& at_start() const { return at_start_; }

  // Fills in what `outcome` says of the process.
  void AfterUpgrade(UpgradeOutcome& outcome);

  // After the last one. What is wrong with the process, in any order.
  std::vector<Anomaly> Judge(const std::vector<UpgradeOutcome>& upgrades);

 private:
  using Finding = std::pair<Verdict, std::string>;

  std::vector<Finding> FindingsIn(const Snapshot& now) const;
  bool NoteEnd();
  void JudgeMemory(const std::vector<UpgradeOutcome>& upgrades);
  absl::StatusOr<Snapshot> SettledSnapshot(int64_t patience_ns);
  void Note(Verdict verdict, std::string text);

  const TortureOptions& options_;
  ServerUnderTest& server_;
  UpgradeDriver& driver_;
  const Endpoint& endpoint_;
  Snapshot at_start_;             // before the first upgrade
  std::optional<Snapshot> base_;  // after the first, from when on nothing may grow
  std::map<Verdict, int64_t> first_seen_ns_;
  std::vector<Anomaly> anomalies_;
};

// How long a process was ready to run and had no processor: the longest of its threads, from now
// on. What a busy machine adds to any wait. 0 where the kernel does not tell.
class ProcessorWait {
 public:
  explicit ProcessorWait(pid_t pid);
  int64_t SoFarNs() const;

 private:
  pid_t pid_;
  std::map<pid_t, int64_t> at_start_;  // by thread
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_PROCESS_JUDGE_H_
