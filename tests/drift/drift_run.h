// DriftRun: one process, upgraded very often. What the kernel holds for it is written down at
// intervals and compared: nothing may pile up, nothing may get lost.
//
//   DriftReport report = RunDrift({.upgrades = 10000});
//   if (!report.findings.empty()) ...
//
// The server is demo-server with clients and state; each upgrade goes through the control socket,
// with everything on: rehearsal, custodian, journal. After each one every client proves that its
// connection, its session and its data are there.
#ifndef LIVEEXEC_TESTS_DRIFT_DRIFT_RUN_H_
#define LIVEEXEC_TESTS_DRIFT_DRIFT_RUN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/harness/snapshot.h"

namespace liveexec::drift {

struct DriftOptions {
  int upgrades = 10000;
  // Measured from here on: then the journal is full (64 entries), and what exec changes for good
  // has changed.
  int warm_up = 70;
  int samples = 20;
  int threads = 2;
  int clients = 8;
  int keys = 1000;
};

struct Sample {
  int upgrade = 0;  // after how many
  harness::Snapshot snapshot;
  int64_t peak_virtual_bytes = 0;
  int64_t mappings = 0;
};

struct DriftReport {
  std::vector<Sample> samples;  // the first is the one to compare with
  absl::Duration duration;
  absl::Duration median_blackout;
  absl::Duration longest_blackout;
  std::vector<std::string> findings;  // sentences; empty when nothing drifted

  // The table that ./dev drift prints.
  std::string ToString() const;
};

// An error when an upgrade did not commit, a client lost something or the machine is not fit for
// it; drift is not an error but a finding. `progress` is called after each sample.
absl::StatusOr<DriftReport> RunDrift(const DriftOptions& options,
                                     const std::function<void(const Sample&)>& progress);

// What differs between two samples that must not.
std::vector<std::string> Drift(const Sample& first, const Sample& last);

}  // namespace liveexec::drift

#endif  // LIVEEXEC_TESTS_DRIFT_DRIFT_RUN_H_
