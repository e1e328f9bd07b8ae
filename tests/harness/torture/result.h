// What a run of liveexec-torture found out.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_RESULT_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_RESULT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/harness/load.h"
#include "tests/harness/resource_watch.h"
#include "tests/harness/torture/options.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {

struct PhaseSpan {
  std::string phase;
  int64_t start_ns = 0;
  int64_t duration_ns = 0;
};

struct UpgradeOutcome {
  int number = 0;      // from 1
  std::string binary;  // that was asked for; empty: the server's own choice
  std::vector<std::string> faults;
  int64_t asked_ns = 0;
  int64_t done_ns = 0;
  std::string problem;                 // empty: it was done
  std::vector<int64_t> gaps_ns;        // of each busy seat, around it
  std::vector<int64_t> quiet_gaps_ns;  // over as long a time without an upgrade
  std::vector<PhaseSpan> phases;       // when the server tells
  pid_t pid = 0;
  int64_t resident_bytes = 0;  // of the serving process, afterwards
  int fds = 0;                 // other than accepted connections
  int processes = 0;           // of the server's group, afterwards
};

struct TortureResult {
  std::string name;
  std::string command;  // that repeats it
  std::string server;   // as it was started
  uint64_t seed = 0;
  int64_t start_ns = 0;
  int64_t end_ns = 0;
  pid_t pid_before = 0;
  pid_t pid_after = 0;
  LoadReport load;
  std::vector<UpgradeOutcome> upgrades;
  std::vector<ResourceSample> resources;
  std::vector<Anomaly> anomalies;  // all, in the order of time
  std::set<Verdict> allowed;
  uint64_t operations_checked = 0;  // for linearizability
  uint64_t keys_inconclusive = 0;

  // The gravest kind of anomaly that is not allowed; kInvisible when there is none.
  Verdict verdict() const;
  bool passed() const { return verdict() == Verdict::kInvisible; }
  std::map<Verdict, uint64_t> counts() const;
  int upgrades_done() const;
  std::vector<int64_t> gaps_ns() const;
  std::vector<int64_t> quiet_gaps_ns() const;
  int64_t peak_resident_bytes() const;
};

// One line for a terminal or a table.
std::string Summary(const TortureResult& result);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_RESULT_H_
