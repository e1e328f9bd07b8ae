#include "tests/harness/upgrade_timeline.h"

#include "tests/harness/clock.h"

namespace liveexec::harness {

std::string PhaseAt(const UpgradeSpan& upgrade, int64_t at_ns) {
  for (const PhaseSpan& phase : upgrade.phases) {
    if (at_ns >= phase.start_ns && at_ns <= phase.start_ns + phase.duration_ns) return phase.phase;
  }
  return upgrade.done_ns == 0 || at_ns <= upgrade.done_ns ? "asked for" : "after it";
}

void Attribute(const UpgradeSpan& upgrade, Anomaly& anomaly) {
  if (upgrade.asked_ns > anomaly.at_ns) return;
  anomaly.upgrade = upgrade.number;
  anomaly.binary = upgrade.binary;
  anomaly.phase = PhaseAt(upgrade, anomaly.at_ns);
}

void UpgradeTimeline::Begin(const std::string& binary) {
  upgrades_.push_back(
      {.number = static_cast<int>(upgrades_.size()) + 1, .binary = binary, .asked_ns = NowNs()});
}

void UpgradeTimeline::End() {
  if (!upgrades_.empty()) upgrades_.back().done_ns = NowNs();
}

}  // namespace liveexec::harness
