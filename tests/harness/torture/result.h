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
#include "tests/harness/upgrade_timeline.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {

struct Struck {
  std::string fault;
  int64_t at_ns = 0;      // when it began
  bool upgraded = false;  // it asked for an upgrade, which was done
};

struct UpgradeOutcome : UpgradeSpan {
  std::string from;  // the binary before it; empty: not known
  std::vector<Struck> faults;
  std::string problem;                 // empty: it was done
  std::vector<int64_t> gaps_ns;        // of each busy seat, around it
  std::vector<int64_t> quiet_gaps_ns;  // over as long a time without an upgrade
  int64_t machine_ns =
      0;  // of its time, how long the server was ready to run, and had no processor
  pid_t pid = 0;
  int64_t resident_bytes = 0;  // of the serving process, afterwards
  int fds = 0;                 // other than accepted connections
  int processes = 0;           // of the server's group, afterwards
};

// "executing", "asked for", "before it", "after it"
std::string StruckIn(const UpgradeOutcome& upgrade, const Struck& struck);

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
  // The longest wait that an upgrade may be blamed for: what the machine does to the same clients
  // without one, or to the server by giving it no processor, is taken off.
  int64_t blamed_gap_ns(const UpgradeOutcome& upgrade) const;
  int64_t peak_resident_bytes() const;
};

// One line for a terminal or a table.
std::string Summary(const TortureResult& result);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_RESULT_H_
