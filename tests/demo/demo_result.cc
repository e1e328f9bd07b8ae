#include "tests/demo/demo_result.h"

#include <algorithm>

namespace liveexec::demo {

int DemoResult::committed() const {
  return static_cast<int>(std::count_if(
      upgrades.begin(), upgrades.end(),
      [](const UpgradeResult& upgrade) { return upgrade.committed && upgrade.problem.empty(); }));
}

std::vector<int64_t> DemoResult::gaps_ns() const {
  std::vector<int64_t> all;
  for (const UpgradeResult& upgrade : upgrades) {
    all.insert(all.end(), upgrade.gaps_ns.begin(), upgrade.gaps_ns.end());
  }
  return all;
}

std::vector<int64_t> DemoResult::quiet_gaps_ns() const {
  std::vector<int64_t> all;
  for (const UpgradeResult& upgrade : upgrades) {
    all.insert(all.end(), upgrade.quiet_gaps_ns.begin(), upgrade.quiet_gaps_ns.end());
  }
  return all;
}

bool DemoResult::ok() const {
  return committed() == options.upgrades && pid_before == pid_after &&
         connections_before == options.idle + options.busy &&
         connections_after == connections_before && failed_requests() == 0 &&
         clients.bytes_lost == 0 && clients.bytes_doubled == 0 && clients.bytes_foreign == 0 &&
         clients.ok() && benchmark_problem.empty() && problems.empty();
}

}  // namespace liveexec::demo
