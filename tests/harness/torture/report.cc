#include "tests/harness/torture/report.h"

#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "nlohmann/json.hpp"
#include "tests/harness/measure.h"

namespace liveexec::harness {

namespace {

using Json = nlohmann::json;

double Ms(int64_t ns) { return static_cast<double>(ns) / 1e6; }

Json Percentiles(const std::vector<int64_t>& samples) {
  return {{"p50", Ms(Percentile(samples, 50))},
          {"p99", Ms(Percentile(samples, 99))},
          {"max", Ms(Percentile(samples, 100))}};
}

Json AnomalyJson(const Anomaly& anomaly, int64_t start_ns) {
  return {{"verdict", std::string(VerdictName(anomaly.verdict))},
          {"who", anomaly.who},
          {"text", anomaly.text},
          {"at_s", static_cast<double>(anomaly.at_ns - start_ns) / 1e9},
          {"upgrade", anomaly.upgrade},
          {"phase", anomaly.phase},
          {"binary", anomaly.binary},
          {"history", anomaly.history}};
}

Json UpgradeJson(const UpgradeOutcome& upgrade, int64_t start_ns) {
  Json phases = Json::array();
  for (const PhaseSpan& phase : upgrade.phases)
    phases.push_back({{"phase", phase.phase},
                      {"at_s", static_cast<double>(phase.start_ns - start_ns) / 1e9},
                      {"duration_ms", Ms(phase.duration_ns)}});
  Json faults = Json::array();
  for (const Struck& struck : upgrade.faults)
    faults.push_back({{"fault", struck.fault},
                      {"at_s", static_cast<double>(struck.at_ns - start_ns) / 1e9},
                      {"phase", StruckIn(upgrade, struck)}});
  return {{"number", upgrade.number},
          {"binary", upgrade.binary},
          {"from", upgrade.from},
          {"faults", std::move(faults)},
          {"asked_at_s", static_cast<double>(upgrade.asked_ns - start_ns) / 1e9},
          {"took_ms", Ms(upgrade.done_ns - upgrade.asked_ns)},
          {"problem", upgrade.problem},
          {"gap_ms", Percentiles(upgrade.gaps_ns)},
          {"quiet_gap_ms", Percentiles(upgrade.quiet_gaps_ns)},
          {"no_processor_ms", Ms(upgrade.machine_ns)},
          {"pid", upgrade.pid},
          {"resident_bytes", upgrade.resident_bytes},
          {"fds", upgrade.fds},
          {"processes", upgrade.processes},
          {"phases", std::move(phases)}};
}

std::string Xml(const std::string& text) {
  std::string escaped =
      absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
  for (char& c : escaped) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') c = '?';
  }
  return escaped;
}

}  // namespace

std::string JsonReport(const TortureResult& result) {
  Json upgrades = Json::array();
  for (const UpgradeOutcome& upgrade : result.upgrades)
    upgrades.push_back(UpgradeJson(upgrade, result.start_ns));
  Json anomalies = Json::array();
  for (const Anomaly& anomaly : result.anomalies)
    anomalies.push_back(AnomalyJson(anomaly, result.start_ns));
  Json counts = Json::object();
  for (const auto& [verdict, count] : result.counts())
    counts[std::string(VerdictName(verdict))] = count;
  const LoadReport& load = result.load;
  const Json document = {
      {"name", result.name},
      {"verdict", std::string(VerdictName(result.verdict()))},
      {"passed", result.passed()},
      {"repeat", result.command},
      {"server", result.server},
      {"seed", result.seed},
      {"seconds", static_cast<double>(result.end_ns - result.start_ns) / 1e9},
      {"pid_before", result.pid_before},
      {"pid_after", result.pid_after},
      {"upgrades_asked", result.upgrades.size()},
      {"upgrades_done", result.upgrades_done()},
      {"connections", load.connections},
      {"connections_kept", load.kept},
      {"reconnections", load.reconnections},
      {"connects_refused", load.refused},
      {"visitors_served", load.visitors},
      {"requests", load.requests},
      {"failed_requests", load.failed_requests},
      {"bytes_arrived", load.bytes_arrived},
      {"bytes_lost", load.bytes_lost},
      {"bytes_doubled", load.bytes_doubled},
      {"bytes_reordered", load.bytes_reordered},
      {"bytes_foreign", load.bytes_foreign},
      {"operations_checked", result.operations_checked},
      {"keys_inconclusive", result.keys_inconclusive},
      {"latency_ms",
       {{"p50", Ms(load.latency_ns.Percentile(50))},
        {"p99", Ms(load.latency_ns.Percentile(99))},
        {"max", Ms(load.latency_ns.max())}}},
      {"gap_ms", Percentiles(result.gaps_ns())},
      {"quiet_gap_ms", Percentiles(result.quiet_gaps_ns())},
      {"peak_resident_bytes", result.peak_resident_bytes()},
      {"resident_bytes_before",
       result.resources.empty() ? 0 : result.resources.front().resident_bytes},
      {"anomaly_counts", std::move(counts)},
      {"anomalies_left_out", load.anomalies_left_out},
      {"upgrades", std::move(upgrades)},
      {"anomalies", std::move(anomalies)},
  };
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string JunitReport(const TortureResult& result) {
  std::string cases;
  int failures = 0;
  int tests = 0;
  const auto add = [&](const std::string& name, double seconds, const std::string& failure,
                       const std::string& details) {
    ++tests;
    absl::StrAppend(&cases, "  <testcase classname=\"", Xml(result.name), "\" name=\"", Xml(name),
                    "\" time=\"", absl::StrFormat("%.3f", seconds), "\"");
    if (failure.empty()) return absl::StrAppend(&cases, "/>\n");
    ++failures;
    absl::StrAppend(&cases, ">\n    <failure message=\"", Xml(failure), "\">", Xml(details),
                    "</failure>\n  </testcase>\n");
  };
  for (const UpgradeOutcome& upgrade : result.upgrades) {
    add(absl::StrCat("upgrade ", upgrade.number), Ms(upgrade.done_ns - upgrade.asked_ns) / 1e3,
        upgrade.problem, upgrade.problem);
  }
  const auto counts = result.counts();
  for (int i = 1; i < kVerdicts; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    const auto found = counts.find(verdict);
    if (found == counts.end() || result.allowed.count(verdict) > 0) {
      add(absl::StrCat("no ", std::string(VerdictName(verdict))), 0, "", "");
      continue;
    }
    std::vector<std::string> details;
    for (const Anomaly& anomaly : result.anomalies) {
      if (anomaly.verdict == verdict && details.size() < 20) details.push_back(anomaly.ToString());
    }
    details.push_back(absl::StrCat("repeat: ", result.command));
    add(absl::StrCat("no ", std::string(VerdictName(verdict))), 0,
        absl::StrCat(std::string(VerdictName(verdict)), ", ", found->second, " times"),
        absl::StrJoin(details, "\n"));
  }
  return absl::StrCat("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"",
                      Xml(result.name), "\" tests=\"", tests, "\" failures=\"", failures,
                      "\" errors=\"0\">\n", cases, "</testsuite>\n");
}

absl::Status WriteReports(const TortureResult& result, const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  for (const auto& [name, text] :
       {std::pair("report.json", JsonReport(result)), std::pair("junit.xml", JunitReport(result)),
        std::pair("report.html", HtmlReport(result))}) {
    const std::string path = absl::StrCat(directory, "/", name);
    std::ofstream file(path);
    file << text;
    file.close();
    if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  }
  return absl::OkStatus();
}

}  // namespace liveexec::harness
