// BenchmarkChild: redis-benchmark, as it comes from its package, running for as long as the demo
// does.
#ifndef LIVEEXEC_TESTS_DEMO_BENCHMARK_CHILD_H_
#define LIVEEXEC_TESTS_DEMO_BENCHMARK_CHILD_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/harness/child_process.h"
#include "tests/harness/temp_dir.h"

namespace liveexec::demo {

class BenchmarkChild {
 public:
  // Its connections are opened soon after, and then kept.
  static absl::StatusOr<std::unique_ptr<BenchmarkChild>> Start(int port, int connections);

  bool running() { return process_->running(); }
  // What it complained of so far, empty when nothing.
  std::string Complaints() const;
  double RequestsPerSecond() const;

 private:
  BenchmarkChild() = default;

  harness::TempDir directory_;
  std::unique_ptr<harness::ChildProcess> process_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_TESTS_DEMO_BENCHMARK_CHILD_H_
