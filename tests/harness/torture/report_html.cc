#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/harness/measure.h"
#include "tests/harness/torture/charts.h"
#include "tests/harness/torture/html_text.h"
#include "tests/harness/torture/report.h"
#include "tests/harness/torture/report_tables.h"

namespace liveexec::harness {

namespace {

constexpr char kStyle[] = R"css(
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2024;--dim:#667;--line:#dde1e6;--good:#18794e;
--bad:#c62a2f;--soft:#f5f7f9;--bar:#3b82c4;--quiet:#9aa5b1;--band:#cdd5df}
@media(prefers-color-scheme:dark){:root{--bg:#15181b;--fg:#e6e8ea;--dim:#9aa3ad;--line:#31363c;
--good:#4cc38a;--bad:#ff6369;--soft:#1d2125;--bar:#5aa2e0;--quiet:#5c6670;--band:#3a424b}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,sans-serif}main{max-width:1120px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.3rem;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:36px 0 8px}
p{margin:4px 0}.dim{color:var(--dim)}.verdict{border-radius:10px;padding:18px 20px;margin:16px 0;
border:2px solid;background:var(--soft)}.verdict b{font-size:1.6rem;display:block;line-height:1.3}
.good{color:var(--good);border-color:var(--good)}.bad{color:var(--bad);border-color:var(--bad)}
.verdict span{color:var(--fg)}.cards{display:grid;gap:10px;
grid-template-columns:repeat(auto-fit,minmax(160px,1fr))}.card{background:var(--soft);
border-radius:8px;padding:10px 12px}.card b{display:block;font-size:1.25rem}.card.bad b{color:var(--bad)}
.card.bad{border:1px solid var(--bad)}.card span{color:var(--dim);font-size:.85rem}
.chart svg{display:block;width:100%;height:200px;background:var(--soft);border:1px solid var(--line)}
.plot{position:relative}.scale,.axis{color:var(--dim);font-size:.8rem}.axis,.over{position:relative;
height:1.4em;font-size:.75rem;color:var(--dim)}.axis span,.over span{position:absolute;
transform:translateX(-50%);white-space:nowrap}.axis span:first-child{transform:none}
.axis span:last-child{transform:translateX(-100%)}.over b{color:var(--bad)}.plot span{position:absolute;
left:4px;transform:translateY(-100%);font-size:.7rem;line-height:1.2;color:var(--fg);
background:var(--soft);opacity:.85;padding:0 3px;border-radius:3px;pointer-events:none}
.grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
rect.latency,i.latency{fill:var(--bar);background:var(--bar)}rect.upgrade{fill:var(--band)}rect.blackout{fill:var(--bad);opacity:.12}
rect.failed{fill:var(--bad);opacity:.3}rect.lost{fill:var(--bad)}
rect.quiet,i.quiet{fill:var(--quiet);background:var(--quiet)}path.memory{fill:var(--bar);opacity:.6}
.p0{fill:#3b82c4;background:#3b82c4}.p1{fill:#30a46c;background:#30a46c}
.p2{fill:#ad7f58;background:#ad7f58}.p3{fill:#8e4ec6;background:#8e4ec6}
.p4{fill:#e5484d;background:#e5484d}.p5{fill:#e2a336;background:#e2a336}
.p6{fill:#12a594;background:#12a594}.p7{fill:#d6409f;background:#d6409f}
.p8{fill:#5b5bd6;background:#5b5bd6}.p9{fill:#7c9c1d;background:#7c9c1d}
.p10{fill:#c2572b;background:#c2572b}.p11{fill:#0090a8;background:#0090a8}
.p12{fill:#8d8d8d;background:#8d8d8d}
.legend{list-style:none;padding:0;margin:6px 0;display:flex;
flex-wrap:wrap;gap:4px 16px;font-size:.8rem;color:var(--dim)}.legend i{display:inline-block;
width:11px;height:11px;border-radius:2px;margin-right:5px}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.85rem}th,td{text-align:right;padding:4px 10px;
border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}
td.bad{color:var(--bad);font-weight:600}td.to,th.to{text-align:left;white-space:normal;min-width:12em}
td.good{color:var(--good)}td.good,td.bad{border-color:var(--line)}
pre{background:var(--soft);padding:10px 12px;border-radius:6px;overflow-x:auto;font-size:.8rem;
white-space:pre-wrap;overflow-wrap:anywhere}details{border-bottom:1px solid var(--line);padding:6px 0}
summary{cursor:pointer;overflow-wrap:anywhere}summary b{color:var(--bad)}
)css";

std::string Card(const std::string& value, const std::string& label, bool good) {
  return absl::StrCat("<div class=\"card", good ? "" : " bad", "\"><b>", value, "</b><span>", label,
                      "</span></div>");
}

std::string VerdictBox(const TortureResult& result) {
  const Verdict verdict = result.verdict();
  const bool good = result.passed();
  std::string others;
  for (const auto& [kind, count] : result.counts()) {
    absl::StrAppend(&others, others.empty() ? "" : ", ", std::string(VerdictName(kind)), " ×",
                    count, result.allowed.count(kind) > 0 ? " (allowed)" : "");
  }
  return absl::StrCat("<div class=\"verdict ", good ? "good" : "bad", "\"><b>",
                      good ? "✔ The upgrades were invisible" : "✘ ",
                      good ? "" : std::string(VerdictName(verdict)), "</b><span>",
                      std::string(VerdictMeaning(verdict)),
                      others.empty() ? "" : absl::StrCat("<br>Seen: ", others), "</span>",
                      good ? ""
                           : absl::StrCat("<p class=\"dim\">To repeat it:</p><pre>",
                                          HtmlText(result.command), "</pre>"),
                      "</div>");
}

std::string Cards(const TortureResult& result) {
  const LoadReport& load = result.load;
  const auto asked = static_cast<int>(result.upgrades.size());
  std::string cards;
  absl::StrAppend(&cards,
                  Card(absl::StrCat(result.upgrades_done(), " of ", asked), "upgrades done",
                       result.upgrades_done() == asked),
                  Card(absl::StrCat(Grouped(load.kept), " of ", Grouped(load.connections)),
                       "connections kept", load.kept == load.connections),
                  Card(absl::StrCat(Grouped(load.failed_requests), " of ", Grouped(load.requests)),
                       "requests failed", load.failed_requests == 0),
                  Card(absl::StrCat(Grouped(load.bytes_lost), " / ",
                                    Grouped(load.bytes_doubled + load.bytes_reordered)),
                       "bytes lost / doubled",
                       load.bytes_lost + load.bytes_doubled + load.bytes_reordered == 0),
                  Card(Grouped(load.refused), "connections refused", load.refused == 0),
                  Card(absl::StrCat(Ms(Percentile(result.gaps_ns(), 50)), " ms"),
                       absl::StrCat("median longest wait; without an upgrade ",
                                    Ms(Percentile(result.quiet_gaps_ns(), 50)), " ms"),
                       true),
                  Card(absl::StrCat(Ms(Percentile(result.gaps_ns(), 100)), " ms"),
                       absl::StrCat("worst wait; without an upgrade ",
                                    Ms(Percentile(result.quiet_gaps_ns(), 100)), " ms"),
                       result.counts().count(Verdict::kStalled) == 0),
                  Card(absl::StrCat(result.pid_before, result.pid_before == result.pid_after
                                                           ? ""
                                                           : absl::StrCat(" → ", result.pid_after)),
                       "PID", result.pid_before == result.pid_after));
  return absl::StrCat("<div class=\"cards\">", cards, "</div>");
}

// The upgrade whose phases are worth a look: the one with the longest median wait.
const UpgradeOutcome* Slowest(const TortureResult& result) {
  const UpgradeOutcome* slowest = nullptr;
  for (const UpgradeOutcome& upgrade : result.upgrades) {
    if (upgrade.phases.empty()) continue;
    if (slowest == nullptr || Percentile(upgrade.gaps_ns, 50) > Percentile(slowest->gaps_ns, 50)) {
      slowest = &upgrade;
    }
  }
  return slowest;
}

}  // namespace

std::string HtmlReport(const TortureResult& result) {
  const UpgradeOutcome* slowest = Slowest(result);
  std::string page = absl::StrCat(
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>",
      result.passed() ? "✔ " : "✘ ", HtmlText(result.name), "</title><style>", kStyle,
      "</style></head><body><main><h1>", HtmlText(result.name), "</h1><p class=\"dim\">",
      result.upgrades.size(), " upgrades under load, ",
      absl::StrFormat("%.1f s", static_cast<double>(result.end_ns - result.start_ns) / 1e9),
      ", seed ", result.seed, "</p>");
  absl::StrAppend(&page, VerdictBox(result), Cards(result), "<h2>What the clients felt</h2>",
                  LatencyChart(result),
                  "<p class=\"dim\">Numbered bands are upgrades; red marks, lost connections.</p>");
  if (slowest != nullptr)
    absl::StrAppend(&page, "<h2>Upgrade ", slowest->number,
                    ", the one with the longest median wait, phase by phase</h2>",
                    PhaseChart(result, *slowest));
  absl::StrAppend(&page, "<h2>How long they waited</h2>", GapChart(result), "<h2>Memory</h2>",
                  MemoryChart(result), "<h2>Anomalies</h2>", AnomalyList(result),
                  "<h2>Upgrades</h2>", UpgradeTable(result), MatrixTable(result),
                  "<h2>To repeat it</h2><pre>", HtmlText(result.command),
                  "</pre></main></body></html>\n");
  return page;
}

}  // namespace liveexec::harness
