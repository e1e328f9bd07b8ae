// UpgradeTimeline: when which upgrade was under way, so that what a client saw can be said to
// belong to an upgrade, to its phase, and to the binary that it was to.
//
//   UpgradeTimeline timeline;
//   timeline.Begin("/srv/bin/server-v2");
//   ... upgrade ...
//   timeline.End();
//   report.Attribute(timeline);      // SwarmReport: its problems say "during upgrade 1 to ..."
//
// Times are CLOCK_MONOTONIC. Used by one thread.
#ifndef LIVEEXEC_TESTS_HARNESS_UPGRADE_TIMELINE_H_
#define LIVEEXEC_TESTS_HARNESS_UPGRADE_TIMELINE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/harness/verdict.h"

namespace liveexec::harness {

struct PhaseSpan {
  std::string phase;
  int64_t start_ns = 0;
  int64_t duration_ns = 0;
};

struct UpgradeSpan {
  int number = 0;      // from 1
  std::string binary;  // that was asked for; empty: the server's own choice
  int64_t asked_ns = 0;
  int64_t done_ns = 0;            // 0: it is under way
  std::vector<PhaseSpan> phases;  // when the server tells
};

// What was going on at `at_ns`: the phase's name, "asked for" (under way, no phase is known), or
// "after it".
std::string PhaseAt(const UpgradeSpan& upgrade, int64_t at_ns);

// When `anomaly` showed after `upgrade` was asked for, notes in it that upgrade, its phase and its
// binary. Call it for all upgrades, in the order of time.
void Attribute(const UpgradeSpan& upgrade, Anomaly& anomaly);

class UpgradeTimeline {
 public:
  void Begin(const std::string& binary = "");
  void End();
  const std::vector<UpgradeSpan>& upgrades() const { return upgrades_; }
  std::vector<UpgradeSpan>& upgrades() { return upgrades_; }

 private:
  std::vector<UpgradeSpan> upgrades_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_UPGRADE_TIMELINE_H_
