#include "tests/harness/torture/result.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/harness/measure.h"

namespace liveexec::harness {

namespace {

// A grave anomaly brings others with it: the name of a run is that of the first of these.
constexpr std::array kByGravity = {
    Verdict::kServerDied,     Verdict::kPidChanged,        Verdict::kUpgradeFailed,
    Verdict::kAnsweredTwice,  Verdict::kWriteDoubled,      Verdict::kWriteLost,
    Verdict::kTimerForgotten, Verdict::kMessageLost,       Verdict::kByteReordered,
    Verdict::kByteDoubled,    Verdict::kByteForeign,       Verdict::kByteLost,
    Verdict::kConnectionLost, Verdict::kConnectionRefused, Verdict::kWrongReply,
    Verdict::kReplyMissing,   Verdict::kChildForgotten,    Verdict::kLockLost,
    Verdict::kFdLeaked,       Verdict::kThreadLeaked,      Verdict::kMemoryLeaked,
    Verdict::kProcessChanged, Verdict::kStalled,
};
static_assert(kByGravity.size() == kVerdicts - 1);

}  // namespace

std::string StruckIn(const UpgradeOutcome& upgrade, const Struck& struck) {
  return struck.at_ns < upgrade.asked_ns ? "before it" : PhaseAt(upgrade, struck.at_ns);
}

std::map<Verdict, uint64_t> TortureResult::counts() const {
  std::map<Verdict, uint64_t> counts;
  for (const Anomaly& anomaly : anomalies) ++counts[anomaly.verdict];
  return counts;
}

Verdict TortureResult::verdict() const {
  const auto seen = counts();
  for (const Verdict verdict : kByGravity) {
    if (seen.count(verdict) > 0 && allowed.count(verdict) == 0) return verdict;
  }
  return Verdict::kInvisible;
}

int TortureResult::upgrades_done() const {
  return static_cast<int>(
      std::count_if(upgrades.begin(), upgrades.end(),
                    [](const UpgradeOutcome& upgrade) { return upgrade.problem.empty(); }));
}

std::vector<int64_t> TortureResult::gaps_ns() const {
  std::vector<int64_t> all;
  for (const UpgradeOutcome& upgrade : upgrades)
    all.insert(all.end(), upgrade.gaps_ns.begin(), upgrade.gaps_ns.end());
  return all;
}

std::vector<int64_t> TortureResult::quiet_gaps_ns() const {
  std::vector<int64_t> all;
  for (const UpgradeOutcome& upgrade : upgrades)
    all.insert(all.end(), upgrade.quiet_gaps_ns.begin(), upgrade.quiet_gaps_ns.end());
  return all;
}

int64_t TortureResult::blamed_gap_ns(const UpgradeOutcome& upgrade) const {
  const int64_t machine = std::max(upgrade.machine_ns, Percentile(quiet_gaps_ns(), 100));
  return std::max<int64_t>(0, Percentile(upgrade.gaps_ns, 100) - machine);
}

int64_t TortureResult::peak_resident_bytes() const {
  int64_t peak = 0;
  for (const ResourceSample& sample : resources) peak = std::max(peak, sample.resident_bytes);
  return peak;
}

std::string Summary(const TortureResult& result) {
  return absl::StrFormat(
      "%s: %d of %d upgrades, %d of %d connections kept, %d of %d requests failed, longest wait "
      "%.1f "
      "ms (median), %.1f ms (worst)",
      std::string(VerdictName(result.verdict())), result.upgrades_done(), result.upgrades.size(),
      result.load.kept, result.load.connections, result.load.failed_requests, result.load.requests,
      static_cast<double>(Percentile(result.gaps_ns(), 50)) / 1e6,
      static_cast<double>(Percentile(result.gaps_ns(), 100)) / 1e6);
}

}  // namespace liveexec::harness
