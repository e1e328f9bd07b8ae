// TortureRun: starts a server, loads it, upgrades it again and again, and says what was noticed.
//
//   TortureRun run(options, observer);
//   absl::StatusOr<TortureResult> result = run.Run();   // an error: it could not be done at all
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_TORTURE_RUN_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_TORTURE_RUN_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/fault_plan.h"
#include "tests/harness/load.h"
#include "tests/harness/resource_watch.h"
#include "tests/harness/server_under_test.h"
#include "tests/harness/torture/options.h"
#include "tests/harness/torture/process_judge.h"
#include "tests/harness/torture/result.h"
#include "tests/harness/torture/seating.h"
#include "tests/harness/torture/upgrade_driver.h"

namespace liveexec::harness {

class TortureObserver {
 public:
  virtual ~TortureObserver() = default;
  virtual void OnStep(const std::string& what) = 0;
  virtual void OnUpgrade(const UpgradeOutcome& upgrade) = 0;
};

class TortureRun {
 public:
  // `observer` is borrowed. `options.seed` is not 0.
  TortureRun(TortureOptions options, TortureObserver& observer);

  absl::StatusOr<TortureResult> Run();

 private:
  absl::Status StartServer();
  absl::Status StartLoad();
  UpgradeOutcome Upgrade(int number);
  void LookAfterwards(UpgradeOutcome& outcome);
  void Strike(const Fault& fault, UpgradeOutcome& outcome);
  std::vector<Struck> StrikeDuring(const std::vector<std::pair<int, Fault>>& faults,
                                   const std::string& binary, int64_t asked_ns);
  int DelayOf(const Fault& fault);
  void RefuseBinary(FaultKind fault);
  void CheckHistory();
  void Judge();
  void Note(Verdict verdict, const std::string& who, std::string text);

  TortureOptions options_;
  TortureObserver& observer_;
  Random random_;
  TortureResult result_;
  std::unique_ptr<ServerUnderTest> server_;
  std::optional<UpgradeDriver> driver_;
  SharedState shared_;
  std::unique_ptr<Load> load_;
  std::unique_ptr<ResourceWatch> watch_;
  std::unique_ptr<ProcessJudge> process_;
  std::vector<Anomaly> process_anomalies_;
  Endpoint endpoint_;
  std::string binary_;  // that serves; empty: not known
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_TORTURE_RUN_H_
