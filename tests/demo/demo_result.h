// What the demo found: everything that the report shows, and nothing that was not measured.
#ifndef LIVEEXEC_TESTS_DEMO_DEMO_RESULT_H_
#define LIVEEXEC_TESTS_DEMO_DEMO_RESULT_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/demo/demo_options.h"
#include "tests/harness/client_swarm.h"

namespace liveexec::demo {

struct UpgradeResult {
  int number = 0;        // from 1
  std::string asked_by;  // "SIGHUP", "liveexec"
  std::string from;      // versions
  std::string to;
  bool committed = false;
  std::string problem;   // empty when all went well
  int64_t total_ns = 0;  // from asking to knowing that the new program serves
  // For each checking client, the longest time between two successive replies: while the upgrade
  // was under way, and for as long afterwards, without one.
  std::vector<int64_t> gaps_ns;
  std::vector<int64_t> quiet_gaps_ns;
};

struct DemoResult {
  DemoOptions options;
  std::vector<UpgradeResult> upgrades;
  pid_t pid_before = 0;
  pid_t pid_after = 0;
  int connections_before = 0;
  int connections_after = 0;  // those of before that are still the same
  harness::SwarmReport clients;
  uint64_t benchmark_errors = 0;
  std::string benchmark_problem;  // its own words
  double benchmark_requests_per_second = 0;
  double seconds = 0;
  std::map<std::string, int64_t> phase_ns;  // median
  std::map<std::string, int64_t> phase_worst_ns;
  std::vector<std::string> phase_order;
  std::vector<int64_t> server_blackouts_ns;  // as the journal has them
  std::vector<std::string> problems;         // everything else that is not as it should be

  int committed() const;
  uint64_t failed_requests() const { return clients.failed_requests + benchmark_errors; }
  std::vector<int64_t> gaps_ns() const;
  std::vector<int64_t> quiet_gaps_ns() const;
  // Whether the upgrade was invisible, every time.
  bool ok() const;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_TESTS_DEMO_DEMO_RESULT_H_
