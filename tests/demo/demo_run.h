// DemoRun: a loaded server, upgraded again and again.
#ifndef LIVEEXEC_TESTS_DEMO_DEMO_RUN_H_
#define LIVEEXEC_TESTS_DEMO_DEMO_RUN_H_

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/demo/benchmark_child.h"
#include "tests/demo/demo_options.h"
#include "tests/demo/demo_result.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/resp_client.h"
#include "tests/harness/server_under_test.h"

namespace liveexec::demo {

// What the run says while it goes on.
class DemoObserver {
 public:
  virtual ~DemoObserver() = default;
  virtual void OnStep(const std::string& what) = 0;          // "opening 1,000 idle connections"
  virtual void OnUpgrade(const UpgradeResult& upgrade) = 0;  // after each
};

class DemoRun {
 public:
  // Both are borrowed for the object's lifetime.
  DemoRun(const DemoOptions& options, DemoObserver& observer);

  // An error means that the demo could not be carried out; a result may still be a bad one.
  absl::StatusOr<DemoResult> Run();

 private:
  absl::Status StartServer();
  absl::Status StartClients();
  absl::StatusOr<std::set<std::string>> Connections();
  absl::Status AwaitConnections();
  UpgradeResult Upgrade(int number);
  absl::StatusOr<std::string> Ask(bool by_signal, const std::string& binary, int generation);
  absl::Status Verify();
  absl::Status ReadHistory();
  void Finish();

  const DemoOptions& options_;
  DemoObserver& observer_;
  DemoResult result_;
  std::string version_;  // that runs now
  int generation_ = 0;
  std::unique_ptr<harness::ServerUnderTest> server_;
  std::unique_ptr<harness::ClientSwarm> swarm_;
  std::unique_ptr<BenchmarkChild> benchmark_;
  std::unique_ptr<harness::RespClient> admin_;
  std::set<std::string> connections_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_TESTS_DEMO_DEMO_RUN_H_
