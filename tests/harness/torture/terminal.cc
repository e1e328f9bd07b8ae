#include "tests/harness/torture/terminal.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "absl/strings/str_cat.h"
#include "tests/harness/clock.h"
#include "tests/harness/measure.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {

namespace {
constexpr int kShownOfEachKind = 2;
}

Terminal::Terminal(const TortureOptions& options)
    : quiet_(options.quiet),
      terminal_(isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr),
      upgrades_(options.upgrades) {}

std::string Terminal::Painted(bool good, const std::string& text) const {
  return terminal_ ? absl::StrCat(good ? "\033[32m" : "\033[31m", text, "\033[0m") : text;
}

void Terminal::OnStep(const std::string& what) {
  if (what == "upgrading") started_ns_ = NowNs();
  if (quiet_) return;
  if (terminal_) {
    std::printf("\r\033[K%s ...", what.c_str());
  } else {
    std::printf("%s\n", what.c_str());
  }
  std::fflush(stdout);
}

void Terminal::OnUpgrade(const UpgradeOutcome& upgrade) {
  if (quiet_) return;
  const double each = static_cast<double>(NowNs() - started_ns_) / 1e9 / upgrade.number;
  std::printf(
      "%s%s upgrade %d of %d  %.0f ms, longest wait for a reply %.1f ms (median), %.1f ms "
      "(worst)%s%s\n",
      terminal_ ? "\r\033[K" : "",
      Painted(upgrade.problem.empty(), upgrade.problem.empty() ? "ok  " : "FAIL").c_str(),
      upgrade.number, upgrades_, static_cast<double>(upgrade.done_ns - upgrade.asked_ns) / 1e6,
      static_cast<double>(Percentile(upgrade.gaps_ns, 50)) / 1e6,
      static_cast<double>(Percentile(upgrade.gaps_ns, 100)) / 1e6,
      upgrade.problem.empty() ? "" : ": ", upgrade.problem.c_str());
  if (terminal_ && upgrade.number < upgrades_)
    std::printf("about %.0f s left", each * (upgrades_ - upgrade.number));
  std::fflush(stdout);
}

void Terminal::PrintResult(const TortureResult& result) {
  if (terminal_ && !quiet_) std::printf("\r\033[K");
  std::printf("%s\n", Painted(result.passed(), Summary(result)).c_str());
  if (result.passed() && quiet_) return;
  std::map<Verdict, int> shown;
  for (const Anomaly& anomaly : result.anomalies) {
    if (++shown[anomaly.verdict] > kShownOfEachKind) continue;
    std::printf("  %s\n", anomaly.ToString().c_str());
    for (const std::string& operation : anomaly.history)
      std::printf("      %s\n", operation.c_str());
  }
  for (const auto& [verdict, count] : shown) {
    if (count > kShownOfEachKind)
      std::printf("  and %s %d times more\n", std::string(VerdictName(verdict)).c_str(),
                  count - kShownOfEachKind);
  }
  std::printf("repeat: %s\n", result.command.c_str());
}

}  // namespace liveexec::harness
