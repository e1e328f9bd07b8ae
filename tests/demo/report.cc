#include "tests/demo/report.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "tests/harness/child_process.h"
#include "tests/harness/clock.h"
#include "tests/harness/measure.h"
#include "tests/harness/temp_dir.h"

namespace liveexec::demo {

using harness::NowNs;
using harness::Percentile;

namespace {

constexpr char kGreen[] = "\033[32m";
constexpr char kRed[] = "\033[1;31m";
constexpr char kBold[] = "\033[1m";

double Ms(int64_t ns) { return static_cast<double>(ns) / 1e6; }

// 1234567 -> "1,234,567"
std::string Grouped(uint64_t value) {
  std::string digits = absl::StrCat(value);
  for (size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

std::string Percentiles(const std::vector<int64_t>& samples) {
  return absl::StrFormat("p50 %.1f ms   p99 %.1f ms   max %.1f ms", Ms(Percentile(samples, 50)),
                         Ms(Percentile(samples, 99)), Ms(Percentile(samples, 100)));
}

bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0')
      return absl::StrContains(absl::AsciiStrToLower(value), "utf");
  }
  return false;
}

}  // namespace

TerminalReport::TerminalReport(const DemoOptions& options)
    : options_(options), terminal_(isatty(STDOUT_FILENO) == 1), utf8_(LocaleIsUtf8()) {}

std::string TerminalReport::Painted(const std::string& text, const char* colour) const {
  return terminal_ ? absl::StrCat(colour, text, "\033[0m") : text;
}

std::string TerminalReport::Verdict(bool good) const {
  return good ? Painted("ok  ", kGreen) : Painted("FAIL", kRed);
}

void TerminalReport::ClearProgress() const {
  if (terminal_) std::fputs("\r\033[K", stdout);
}

void TerminalReport::OnStep(const std::string& what) {
  ClearProgress();
  std::printf("%s%s", what.c_str(), terminal_ ? " ..." : "\n");
  std::fflush(stdout);
  if (what == "upgrading") first_upgrade_ns_ = NowNs();
}

void TerminalReport::OnUpgrade(const UpgradeResult& upgrade) {
  ClearProgress();
  if (!header_printed_) {
    header_printed_ = true;
    std::printf("\n%s\n", Painted("         asked by           from       to         whole upgrade "
                                  "  longest wait for a reply",
                                  kBold)
                              .c_str());
    std::printf(
        "%s\n",
        Painted(
            "                                                              median client    worst",
            kBold)
            .c_str());
  }
  const bool good = upgrade.committed && upgrade.problem.empty();
  std::printf("%s %3d  %-17s  %-9s  %-9s  %10.1f ms   %10.1f ms %8.1f ms\n", Verdict(good).c_str(),
              upgrade.number, upgrade.asked_by.c_str(), upgrade.from.c_str(), upgrade.to.c_str(),
              Ms(upgrade.total_ns), Ms(Percentile(upgrade.gaps_ns, 50)),
              Ms(Percentile(upgrade.gaps_ns, 100)));
  if (!upgrade.problem.empty()) std::printf("         %s\n", upgrade.problem.c_str());
  if (terminal_ && upgrade.number < options_.upgrades) {
    const double each = static_cast<double>(NowNs() - first_upgrade_ns_) / 1e9 / upgrade.number;
    std::printf("upgrade %d of %d, about %.0f s left", upgrade.number + 1, options_.upgrades,
                each * (options_.upgrades - upgrade.number));
  }
  std::fflush(stdout);
}

void TerminalReport::Row(bool good, const std::string& name, const std::string& value) const {
  std::printf("%s  %-22s %s\n", Verdict(good).c_str(), name.c_str(), value.c_str());
}

void TerminalReport::PrintSummary(const DemoResult& result) {
  ClearProgress();
  PrintPlot(result);
  PrintPhases(result);
  const harness::SwarmReport& clients = result.clients;
  const uint64_t connections =
      static_cast<uint64_t>(options_.idle) + static_cast<uint64_t>(options_.busy);
  std::printf("\n%s\n", Painted("What the clients saw", kBold).c_str());
  Row(result.committed() == options_.upgrades, "upgrades",
      absl::StrCat(result.committed(), " of ", options_.upgrades));
  Row(result.pid_before == result.pid_after, "process",
      absl::StrCat("PID ", result.pid_before, " before, ", result.pid_after, " after"));
  Row(result.connections_before == static_cast<int>(connections) &&
          result.connections_after == result.connections_before,
      "connections kept",
      absl::StrCat(Grouped(static_cast<uint64_t>(result.connections_after)), " of ",
                   Grouped(connections)));
  Row(result.failed_requests() == 0, "failed requests",
      absl::StrCat(result.failed_requests(), " of ", Grouped(clients.requests), " checked ones, ",
                   result.benchmark_errors, " in redis-benchmark's ",
                   Grouped(static_cast<uint64_t>(result.benchmark_requests_per_second)),
                   " a second"));
  Row(clients.bytes_lost + clients.bytes_foreign == 0, "bytes lost",
      absl::StrCat(clients.bytes_lost, " of ", Grouped(clients.bytes_arrived)));
  Row(clients.bytes_doubled == 0, "bytes doubled", absl::StrCat(clients.bytes_doubled));
  std::printf("\n      blackout, clients      %s\n", Percentiles(result.gaps_ns()).c_str());
  std::printf("      without an upgrade     %s\n", Percentiles(result.quiet_gaps_ns()).c_str());
  std::printf("      blackout, server       %s\n", Percentiles(result.server_blackouts_ns).c_str());
  std::printf(
      "      (clients: for each of %d checking clients, which always have requests under way, and "
      "each upgrade,\n"
      "      the longest time between two replies; without: the same over as long a time after "
      "each upgrade;\n"
      "      server: from its first stopped thread to serving again)\n",
      options_.busy - options_.busy / 2);
  PrintProblems(result);
  std::printf("\n%s\n", result.ok() ? Painted("No client noticed.", kGreen).c_str()
                                    : Painted("The upgrades were not invisible.", kRed).c_str());
  std::printf("%.1f s; ./dev demo --seed %llu repeats it\n", result.seconds,
              static_cast<unsigned long long>(options_.seed));
}

void TerminalReport::PrintProblems(const DemoResult& result) const {
  for (const std::string& problem : result.problems) std::printf("      %s\n", problem.c_str());
  for (const std::string& problem : result.clients.problems)
    std::printf("      %s\n", problem.c_str());
  if (!result.benchmark_problem.empty())
    std::printf("      redis-benchmark: %s\n", result.benchmark_problem.c_str());
}

void TerminalReport::PrintPhases(const DemoResult& result) const {
  if (result.phase_order.empty()) return;
  std::printf("%s\n",
              Painted("Phase by phase (from the server's journal)       median        worst", kBold)
                  .c_str());
  int64_t longest = 1;
  for (const auto& [phase, duration] : result.phase_ns) longest = std::max(longest, duration);
  constexpr int kWidth = 34;
  for (const std::string& phase : result.phase_order) {
    const int64_t duration = result.phase_ns.at(phase);
    std::string bar;
    for (int64_t i = 0; i < (duration * kWidth + longest - 1) / longest; ++i)
      bar += utf8_ ? "█" : "#";
    std::printf("  %-30s %9.3f ms %9.3f ms  %s\n", phase.c_str(), Ms(duration),
                Ms(result.phase_worst_ns.at(phase)), bar.c_str());
  }
}

void TerminalReport::PrintPlot(const DemoResult& result) const {
  if (result.upgrades.empty()) return;
  const harness::TempDir directory;
  std::ofstream data(directory.File("data"));
  for (const UpgradeResult& upgrade : result.upgrades) {
    data << upgrade.number << ' ' << Ms(Percentile(upgrade.gaps_ns, 100)) << ' '
         << Ms(Percentile(upgrade.gaps_ns, 50)) << ' ' << Ms(Percentile(upgrade.quiet_gaps_ns, 100))
         << '\n';
  }
  data.close();
  const int64_t worst = Percentile(result.gaps_ns(), 100);
  // One outlier would press all others flat.
  const bool logarithmic = worst > 20 * Percentile(result.gaps_ns(), 50);
  std::ofstream script(directory.File("script"));
  script << "set terminal dumb size 92,20 mono\n"
         << "set title 'Longest wait for a reply, ms (worst | median o) and without an upgrade "
            "(worst .)'\n"
         << "set xlabel 'upgrade'\nset xrange [0:" << result.upgrades.size() + 1 << "]\n"
         << (logarithmic ? "set logscale y\n" : "set yrange [0:*]\n")
         << "unset key\nset border 3\nset tics nomirror\n"
         << "plot '" << directory.File("data") << "' using 1:2 with impulses, "
         << "'' using 1:3 with points pointtype 'o', '' using 1:4 with points pointtype '.'\n";
  script.close();
  const auto plot = harness::RunCommand({"gnuplot", directory.File("script")}, absl::Seconds(10));
  if (plot.ok() && plot->exit.ok()) {
    std::printf("\n%s\n\n", std::string(absl::StripAsciiWhitespace(plot->output)).c_str());
  } else if (plot.ok()) {
    std::printf("\n(no plot: gnuplot says %s)\n\n", plot->errors.c_str());
  } else {
    std::printf("\n(no plot: gnuplot is not installed; ./dev setup installs it)\n\n");
  }
}

absl::Status WriteJson(const DemoResult& result, const std::string& path) {
  const auto percentiles = [](const std::vector<int64_t>& samples) {
    return nlohmann::json{{"p50", Ms(Percentile(samples, 50))},
                          {"p99", Ms(Percentile(samples, 99))},
                          {"max", Ms(Percentile(samples, 100))}};
  };
  nlohmann::json phases = nlohmann::json::object();
  for (const auto& [phase, duration] : result.phase_ns) phases[phase] = Ms(duration);
  const nlohmann::json document = {
      {"upgrades", result.committed()},
      {"pid_before", result.pid_before},
      {"pid_after", result.pid_after},
      {"connections_before", result.connections_before},
      {"connections_after", result.connections_after},
      {"failed_requests", result.failed_requests()},
      {"bytes_lost", result.clients.bytes_lost},
      {"bytes_doubled", result.clients.bytes_doubled},
      {"blackout_ms", percentiles(result.gaps_ns())},
      {"phases_ms", phases},
      {"upgrades_asked", result.options.upgrades},
      {"requests", result.clients.requests},
      {"without_upgrade_ms", percentiles(result.quiet_gaps_ns())},
      {"server_blackout_ms", percentiles(result.server_blackouts_ns)},
      {"seed", result.options.seed},
      {"ok", result.ok()},
  };
  std::ofstream file(path);
  file << document.dump(2) << '\n';
  file.close();
  return file ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

}  // namespace liveexec::demo
