#include "tests/harness/torture/report_tables.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tests/harness/measure.h"
#include "tests/harness/torture/html_text.h"

namespace liveexec::harness {

namespace {

constexpr size_t kShownAnomalies = 60;

}  // namespace

std::string UpgradeTable(const TortureResult& result) {
  std::string rows;
  for (const UpgradeOutcome& upgrade : result.upgrades) {
    std::string to = BaseName(upgrade.binary);
    for (const Struck& struck : upgrade.faults)
      absl::StrAppend(&to, " +", struck.fault, " (", StruckIn(upgrade, struck), ")");
    const std::vector<std::string> cells = {
        Ms(upgrade.done_ns - upgrade.asked_ns),
        Ms(Percentile(upgrade.gaps_ns, 50)),
        Ms(Percentile(upgrade.gaps_ns, 100)),
        Ms(Percentile(upgrade.quiet_gaps_ns, 100)),
        Grouped(static_cast<uint64_t>(upgrade.resident_bytes / 1024)),
        absl::StrCat(upgrade.fds),
        absl::StrCat(upgrade.processes)};
    absl::StrAppend(&rows, "<tr><td>", upgrade.number, upgrade.problem.empty() ? "" : " ✘",
                    "</td><td>", absl::StrJoin(cells, "</td><td>"), "</td><td class=\"to\">",
                    HtmlText(to), "</td></tr>");
  }
  return absl::StrCat(
      "<div class=\"wide\"><table><tr><th>#</th><th>took ms</th><th>wait ms, "
      "median</th><th>worst</th><th>worst, quiet</th><th>memory KiB</th><th>fds</th>"
      "<th>processes</th><th class=\"to\">to, and faults</th></tr>",
      rows, "</table></div>");
}

std::string MatrixTable(const TortureResult& result) {
  struct Cell {
    int upgrades = 0;
    int failed = 0;
    int64_t worst_ns = 0;
  };
  std::map<std::pair<std::string, std::string>, Cell> cells;
  std::set<std::string> binaries;
  for (const UpgradeOutcome& upgrade : result.upgrades) {
    if (upgrade.from.empty() || upgrade.binary.empty()) continue;
    binaries.insert({upgrade.from, upgrade.binary});
    Cell& cell = cells[{upgrade.from, upgrade.binary}];
    ++cell.upgrades;
    cell.failed += upgrade.problem.empty() ? 0 : 1;
    cell.worst_ns = std::max(cell.worst_ns, Percentile(upgrade.gaps_ns, 100));
  }
  if (binaries.size() < 2) return "";
  std::string rows = "<tr><th>from ↓ to →</th>";
  for (const std::string& to : binaries)
    absl::StrAppend(&rows, "<th>", HtmlText(BaseName(to)), "</th>");
  absl::StrAppend(&rows, "</tr>");
  for (const std::string& from : binaries) {
    absl::StrAppend(&rows, "<tr><td>", HtmlText(BaseName(from)), "</td>");
    for (const std::string& to : binaries) {
      const auto found = cells.find({from, to});
      if (found == cells.end()) {
        absl::StrAppend(&rows, "<td>–</td>");
        continue;
      }
      const Cell& cell = found->second;
      absl::StrAppend(&rows, "<td class=\"", cell.failed == 0 ? "good\">✔ " : "bad\">✘ ",
                      cell.upgrades - cell.failed, " of ", cell.upgrades, ", ", Ms(cell.worst_ns),
                      " ms</td>");
    }
    absl::StrAppend(&rows, "</tr>");
  }
  return absl::StrCat("<h2>From each to each</h2><div class=\"wide\"><table>", rows,
                      "</table></div><p class=\"dim\">Upgrades that were done, and the longest "
                      "wait of a client around them.</p>");
}

std::string AnomalyList(const TortureResult& result) {
  if (result.anomalies.empty()) return "<p class=\"dim\">None.</p>";
  std::string list;
  size_t shown = 0;
  for (const Anomaly& anomaly : result.anomalies) {
    if (++shown > kShownAnomalies) break;
    std::string history;
    for (const std::string& operation : anomaly.history)
      absl::StrAppend(&history, HtmlText(operation), "\n");
    absl::StrAppend(
        &list, "<details", shown <= 3 ? " open" : "", "><summary><b>",
        std::string(VerdictName(anomaly.verdict)), "</b> ", HtmlText(anomaly.who),
        anomaly.upgrade > 0
            ? absl::StrCat(", upgrade ", anomaly.upgrade, " (", HtmlText(anomaly.phase), ")")
            : "",
        "</summary><p>", HtmlText(anomaly.text), "</p><p class=\"dim\">",
        absl::StrFormat("%.3f s after the start",
                        static_cast<double>(anomaly.at_ns - result.start_ns) / 1e9),
        anomaly.binary.empty() ? "" : absl::StrCat("; to ", HtmlText(anomaly.binary)), "</p>",
        history.empty() ? "" : absl::StrCat("<pre>", history, "</pre>"), "</details>");
  }
  if (result.anomalies.size() > kShownAnomalies)
    absl::StrAppend(&list, "<p class=\"dim\">and ", result.anomalies.size() - kShownAnomalies,
                    " more: see report.json</p>");
  return list;
}

}  // namespace liveexec::harness
