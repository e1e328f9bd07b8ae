#include "tests/harness/torture/charts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace liveexec::harness {

namespace {

constexpr double kWidth = 1000;  // of the drawing, in its own units
constexpr double kHeight = 200;
constexpr size_t kColumns = 500;  // at most so many bars

// Latency on a logarithmic scale: 0.1 ms at the bottom, 10 s at the top.
double LogY(double ms, double height) {
  const double decades = std::log10(std::clamp(ms, 0.1, 10000.0) / 0.1);
  return height - decades / 5 * height;
}

struct Label {
  double at = 0;  // of the width, 0 to 1
  std::string text;
};

std::string Labels(const char* style, const std::vector<Label>& labels) {
  std::string spans;
  for (const Label& label : labels)
    absl::StrAppend(&spans, absl::StrFormat("<span style=\"left:%.2f%%\">%s</span>", label.at * 100,
                                            label.text));
  return absl::StrCat("<div class=\"", style, "\">", spans, "</div>");
}

// `inside` are words that lie on the drawing.
std::string Frame(const std::string& shapes, const std::string& title,
                  const std::vector<Label>& axis, const std::string& inside = "",
                  const std::string& over = "") {
  return absl::StrCat("<div class=\"chart\"><div class=\"scale\">", title, "</div>", over,
                      "<div class=\"plot\"><svg viewBox=\"0 0 ", kWidth, " ", kHeight,
                      "\" preserveAspectRatio=\"none\" role=\"img\">", shapes, "</svg>", inside,
                      "</div>", Labels("axis", axis), "</div>");
}

std::string Rect(double x, double y, double width, double height, const char* style,
                 const std::string& title = "") {
  std::string rect = absl::StrFormat(
      "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" "
      "height=\"%.2f\"",
      style, x, y, std::max(width, 0.8), std::max(height, 0.5));
  return title.empty() ? rect + "/>" : absl::StrCat(rect, "><title>", title, "</title></rect>");
}

// Lines at 1, 10, 100 and 1000 ms.
std::string LogGrid() {
  std::string lines;
  for (const double ms : {1.0, 10.0, 100.0, 1000.0}) {
    const double y = LogY(ms, kHeight);
    absl::StrAppend(&lines, absl::StrFormat("<line class=\"grid\" x1=\"0\" x2=\"%g\" y1=\"%.1f\" "
                                            "y2=\"%.1f\"/>",
                                            kWidth, y, y));
  }
  return lines;
}

std::string LogLabels() {
  std::string labels;
  for (const double ms : {1.0, 10.0, 100.0, 1000.0})
    absl::StrAppend(&labels,
                    absl::StrFormat("<span style=\"top:%.1f%%\">%s</span>", LogY(ms, 100),
                                    ms < 1000 ? absl::StrCat(ms, " ms") : std::string("1 s")));
  return labels;
}

struct Span {
  int64_t from;
  int64_t to;
  double X(int64_t at) const {
    const double part =
        static_cast<double>(at - from) / static_cast<double>(std::max<int64_t>(to - from, 1));
    return std::clamp(part, 0.0, 1.0) * kWidth;
  }
};

// The moments of `span`, merged into at most kColumns bars.
std::string LatencyBars(const LoadReport& load, const Span& span) {
  std::string bars;
  const auto index = [&](int64_t at) {
    return static_cast<size_t>(std::max<int64_t>(0, (at - load.start_ns) / kMomentNs));
  };
  const size_t first = index(span.from);
  const size_t last = std::min(index(span.to) + 1, load.moments.size());
  if (first >= last) return bars;
  const size_t step = std::max<size_t>(1, (last - first) / kColumns);
  for (size_t i = first; i < last; i += step) {
    Moment merged;
    for (size_t j = i; j < std::min(i + step, last); ++j) {
      merged.lost += load.moments[j].lost;
      merged.worst_latency_ns = std::max(merged.worst_latency_ns, load.moments[j].worst_latency_ns);
    }
    const int64_t at = load.start_ns + static_cast<int64_t>(i) * kMomentNs;
    const double x = span.X(at);
    const double width = span.X(at + static_cast<int64_t>(step) * kMomentNs) - x;
    if (merged.worst_latency_ns > 0) {
      const double y = LogY(static_cast<double>(merged.worst_latency_ns) / 1e6, kHeight);
      absl::StrAppend(&bars, Rect(x, y, width, kHeight - y, "latency"));
    }
    if (merged.lost > 0)
      absl::StrAppend(&bars, Rect(x, 0, std::max(width, 2.0), 12, "lost",
                                  absl::StrCat(merged.lost, " connections lost or refused")));
  }
  return bars;
}

std::vector<Label> TimeAxis(const Span& span) {
  std::vector<Label> labels;
  for (const double part : {0.0, 0.25, 0.5, 0.75, 1.0})
    labels.push_back(
        {part, absl::StrFormat("%.1f s", static_cast<double>(span.to - span.from) * part / 1e9)});
  return labels;
}

// From the first stopped thread to serving again.
std::string Blackout(const UpgradeOutcome& upgrade, const Span& span) {
  int64_t from = 0;
  int64_t to = 0;
  for (const PhaseSpan& phase : upgrade.phases) {
    if (phase.phase == "quiescing") from = phase.start_ns;
    to = phase.start_ns + phase.duration_ns;
  }
  if (from == 0) return "";
  return Rect(span.X(from), 0, span.X(to) - span.X(from), kHeight, "blackout", "blackout");
}

}  // namespace

std::string LatencyChart(const TortureResult& result) {
  const Span span{result.start_ns, result.end_ns};
  std::string shapes;
  std::vector<Label> numbers;
  const size_t each = result.upgrades.size() / 20 + 1;  // so many numbers have room
  for (const UpgradeOutcome& upgrade : result.upgrades) {
    const double x = span.X(upgrade.asked_ns);
    const double width = std::max(span.X(upgrade.done_ns) - x, 2.5);
    const bool good = upgrade.problem.empty();
    absl::StrAppend(&shapes, Rect(x, 0, width, kHeight, good ? "upgrade" : "failed",
                                  absl::StrCat("upgrade ", upgrade.number)));
    if (!good || static_cast<size_t>(upgrade.number) % each == 0)
      numbers.push_back(
          {(x + width / 2) / kWidth,
           good ? absl::StrCat(upgrade.number) : absl::StrCat("<b>", upgrade.number, " ✘</b>")});
  }
  absl::StrAppend(&shapes, LogGrid(), LatencyBars(result.load, span));
  return Frame(shapes, "the busy clients' worst latency, on a logarithmic scale", TimeAxis(span),
               LogLabels(), Labels("over", numbers));
}

std::string PhaseChart(const TortureResult& result, const UpgradeOutcome& upgrade) {
  if (upgrade.phases.empty()) return "";
  const int64_t margin = (upgrade.done_ns - upgrade.asked_ns) / 10;
  const Span span{upgrade.asked_ns - margin, upgrade.done_ns + margin};
  std::string shapes = Blackout(upgrade, span) + LogGrid() + LatencyBars(result.load, span);
  std::string legend;
  const double row = kHeight / 2 / static_cast<double>(upgrade.phases.size());
  for (size_t i = 0; i < upgrade.phases.size(); ++i) {
    const PhaseSpan& phase = upgrade.phases[i];
    const double x = span.X(phase.start_ns);
    const std::string title =
        absl::StrFormat("%s %.2f ms", phase.phase, static_cast<double>(phase.duration_ns) / 1e6);
    const std::string style = absl::StrCat("p", i % 13);
    absl::StrAppend(&shapes, Rect(x, static_cast<double>(i) * row,
                                  std::max(span.X(phase.start_ns + phase.duration_ns) - x, 3.0),
                                  row * 0.8, style.c_str(), title));
    absl::StrAppend(&legend, "<li><i class=\"", style, "\"></i>", title, "</li>");
  }
  return absl::StrCat(
      Frame(shapes,
            "phases above, the busy clients' worst latency below; shaded: the server stands still",
            {{span.X(upgrade.asked_ns) / kWidth, "asked for"},
             {span.X(upgrade.done_ns) / kWidth,
              absl::StrFormat("done after %.0f ms",
                              static_cast<double>(upgrade.done_ns - upgrade.asked_ns) / 1e6)}},
            LogLabels()),
      "<ul class=\"legend\">", legend, "</ul>");
}

std::string GapChart(const TortureResult& result) {
  // Four bars to a factor of ten, from 0.1 ms to 10 s.
  constexpr size_t kBars = 20;
  std::array<size_t, kBars> with{};
  std::array<size_t, kBars> without{};
  const auto fill = [](const std::vector<int64_t>& gaps, std::array<size_t, kBars>& bars) {
    for (const int64_t gap : gaps) {
      const double ms = std::clamp(static_cast<double>(gap) / 1e6, 0.1, 9999.0);
      ++bars[std::min(kBars - 1, static_cast<size_t>(std::log10(ms / 0.1) * 4))];
    }
  };
  fill(result.gaps_ns(), with);
  fill(result.quiet_gaps_ns(), without);
  const size_t most =
      std::max<size_t>(1, std::max(*std::max_element(with.begin(), with.end()),
                                   *std::max_element(without.begin(), without.end())));
  std::string shapes;
  const double bar = kWidth / kBars;
  for (size_t i = 0; i < kBars; ++i) {
    const double from = 0.1 * std::pow(10, static_cast<double>(i) / 4);
    const auto one = [&](size_t count, double x, const char* style, const char* what) {
      if (count == 0) return;
      const double height = kHeight * static_cast<double>(count) / static_cast<double>(most);
      absl::StrAppend(&shapes,
                      Rect(x, kHeight - height, bar * 0.4, height, style,
                           absl::StrFormat("%d waits from %.2g ms, %s", count, from, what)));
    };
    one(without[i], static_cast<double>(i) * bar + bar * 0.5, "quiet", "without an upgrade");
    one(with[i], static_cast<double>(i) * bar + bar * 0.05, "latency", "around an upgrade");
  }
  return absl::StrCat(
      Frame(shapes, absl::StrCat("how many waits were how long; the highest bar: ", most),
            {{0, "0.1 ms"},
             {0.2, "1 ms"},
             {0.4, "10 ms"},
             {0.6, "100 ms"},
             {0.8, "1 s"},
             {1, "10 s"}}),
      "<ul class=\"legend\"><li><i class=\"latency\"></i>longest wait of each busy client around "
      "each upgrade</li><li><i class=\"quiet\"></i>the same clients, as long, without "
      "one</li></ul>");
}

std::string MemoryChart(const TortureResult& result) {
  if (result.resources.size() < 2) return "";
  const Span span{result.start_ns, result.end_ns};
  const auto peak = static_cast<double>(std::max<int64_t>(result.peak_resident_bytes(), 1));
  std::string path = absl::StrFormat("M0 %g", kHeight);
  for (const ResourceSample& sample : result.resources) {
    absl::StrAppend(
        &path, absl::StrFormat(
                   " L%.1f %.1f", span.X(sample.at_ns),
                   kHeight - kHeight * 0.95 * static_cast<double>(sample.resident_bytes) / peak));
  }
  absl::StrAppend(&path, absl::StrFormat(" L%g %g Z", kWidth, kHeight));
  std::string shapes;
  for (const UpgradeOutcome& upgrade : result.upgrades) {
    const double x = span.X(upgrade.asked_ns);
    absl::StrAppend(&shapes,
                    Rect(x, 0, std::max(span.X(upgrade.done_ns) - x, 2.5), kHeight, "upgrade"));
  }
  return Frame(absl::StrCat(shapes, "<path class=\"memory\" d=\"", path, "\"/>"),
               absl::StrFormat("all its processes together; peak %.1f MiB", peak / (1 << 20)),
               TimeAxis(span));
}

}  // namespace liveexec::harness
