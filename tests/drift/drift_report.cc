#include <algorithm>
#include <functional>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tests/drift/drift_run.h"

namespace liveexec::drift {
namespace {

using harness::Snapshot;

// Address space layout, and which of the file's pages are mapped at the moment, make the figures of
// one and the same program differ by this much from exec to exec. A leak of one KiB an upgrade
// would be 10 MiB in 10,000.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kMemoryNoise = int64_t{64} << 20;  // the sanitizers' own
#else
constexpr int64_t kMemoryNoise = int64_t{2} << 20;
#endif
constexpr int64_t kMappingsNoise = 8;
// Of addresses: malloc gives a thread an arena of its own, 64 MiB, when it finds the others busy.
constexpr int64_t kAddressNoise = (int64_t{64} << 20) + kMemoryNoise;

// The kernel shows the environment as it was at exec, with the variable that announced the channel:
// its nonce is another one each time, its fd and mode are not.
std::vector<std::string> WithoutNonce(std::vector<std::string> environment) {
  for (std::string& variable : environment) {
    if (absl::StartsWith(variable, "LIVEEXEC_CHANNEL=")) {
      variable.resize(variable.rfind(':') == std::string::npos ? 0 : variable.rfind(':'));
    }
  }
  return environment;
}

std::string FdsByKind(const Snapshot& snapshot) {
  return absl::StrJoin(snapshot.FdCounts(), " ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.first, ":", entry.second);
  });
}

struct Row {
  const char* name;
  std::function<std::string(const Sample&)> value;
};

std::string KiB(int64_t bytes) { return absl::StrCat(bytes >> 10, " KiB"); }

std::vector<Row> Rows() {
  auto signal = [](const char* name) {
    return [name](const Sample& s) {
      const auto found = s.snapshot.signals.find(name);
      return found == s.snapshot.signals.end() ? "" : found->second;
    };
  };
  return {
      {"pid", [](const Sample& s) { return absl::StrCat(s.snapshot.pid); }},
      {"fds", [](const Sample& s) { return absl::StrCat(s.snapshot.fds.size()); }},
      {"fds by kind", [](const Sample& s) { return FdsByKind(s.snapshot); }},
      {"resident memory", [](const Sample& s) { return KiB(s.snapshot.resident_bytes); }},
      {"peak virtual memory", [](const Sample& s) { return KiB(s.peak_virtual_bytes); }},
      {"mappings", [](const Sample& s) { return absl::StrCat(s.mappings); }},
      {"threads", [](const Sample& s) { return absl::StrCat(s.snapshot.threads); }},
      {"children", [](const Sample& s) { return absl::StrCat(s.snapshot.children.size()); }},
      {"name", [](const Sample& s) { return s.snapshot.comm; }},
      {"nice", [](const Sample& s) { return absl::StrCat(s.snapshot.nice); }},
      {"blocked signals", signal("SigBlk")},
      {"ignored signals", signal("SigIgn")},
      {"handled signals", signal("SigCgt")},
      {"environment",
       [](const Sample& s) { return absl::StrCat(s.snapshot.environment.size(), " variables"); }},
      {"limits", [](const Sample& s) { return absl::StrCat(s.snapshot.limits.size(), " kinds"); }},
      {"locks", [](const Sample& s) { return absl::StrCat(s.snapshot.locks.size()); }},
  };
}

void CheckGrowth(const char* what, int64_t first, int64_t last, int64_t noise,
                 std::vector<std::string>& findings) {
  if (last - first <= noise) return;
  findings.push_back(absl::StrCat(what, " grew from ", first, " to ", last));
}

}  // namespace

std::vector<std::string> Drift(const Sample& first, const Sample& last) {
  Snapshot before = first.snapshot;
  Snapshot after = last.snapshot;
  before.environment = WithoutNonce(before.environment);
  after.environment = WithoutNonce(after.environment);
  std::vector<std::string> findings =
      Differences(before, after, {.executable = true, .memory_growth = kMemoryNoise});
  CheckGrowth("peak virtual memory, bytes,", first.peak_virtual_bytes, last.peak_virtual_bytes,
              kAddressNoise, findings);
  CheckGrowth("the number of mappings", first.mappings, last.mappings, kMappingsNoise, findings);
  for (std::string& finding : findings) {
    finding = absl::StrCat("after ", last.upgrade, " upgrades: ", finding);
  }
  return findings;
}

std::string DriftReport::ToString() const {
  const Sample& first = samples.front();
  const Sample& last = samples.back();
  std::string text =
      absl::StrFormat("%-20s  %-34s  %-34s\n", "", absl::StrCat("after ", first.upgrade),
                      absl::StrCat("after ", last.upgrade));
  for (const Row& row : Rows()) {
    absl::StrAppendFormat(&text, "%-20s  %-34s  %-34s\n", row.name, row.value(first),
                          row.value(last));
  }
  int64_t low = first.snapshot.resident_bytes;
  int64_t high = low;
  for (const Sample& sample : samples) {
    low = std::min(low, sample.snapshot.resident_bytes);
    high = std::max(high, sample.snapshot.resident_bytes);
  }
  absl::StrAppend(&text, "resident memory in all ", samples.size(), " samples: ", KiB(low), " to ",
                  KiB(high), "\n");
  absl::StrAppend(&text, last.upgrade, " upgrades in ",
                  absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1))), ", blackout ",
                  absl::FormatDuration(median_blackout), " in the median, ",
                  absl::FormatDuration(longest_blackout), " at most\n");
  for (const std::string& finding : findings) absl::StrAppend(&text, "DRIFT ", finding, "\n");
  absl::StrAppend(&text, findings.empty() ? "no drift\n" : "");
  return text;
}

}  // namespace liveexec::drift
