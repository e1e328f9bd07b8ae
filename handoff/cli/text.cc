#include "handoff/cli/text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace liveexec::cli {

std::string DurationText(int64_t nanoseconds) {
  const double ns = static_cast<double>(nanoseconds);
  if (ns < 1e6) return absl::StrFormat("%.0f us", ns / 1e3);
  if (ns < 1e9) return absl::StrFormat("%.2f ms", ns / 1e6);
  return absl::StrFormat("%.3f s", ns / 1e9);
}

std::string BytesText(uint64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit < 3; ++unit) value /= 1024;
  return absl::StrFormat("%.1f %s", value, units[unit]);
}

std::string AgeText(int64_t nanoseconds) {
  const int64_t seconds = std::max<int64_t>(0, nanoseconds / 1'000'000'000);
  if (seconds < 60) return absl::StrCat(seconds, "s");
  if (seconds < 3600) return absl::StrCat(seconds / 60, "m ", seconds % 60, "s");
  if (seconds < 86400) return absl::StrCat(seconds / 3600, "h ", seconds % 3600 / 60, "m");
  return absl::StrCat(seconds / 86400, "d ", seconds % 86400 / 3600, "h");
}

std::string TimeText(int64_t unix_ns) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixNanos(unix_ns), absl::LocalTimeZone());
}

std::string Printable(const std::string& text) {
  std::string result = text;
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return result;
}

std::string SummaryText(const JournalEntry& entry) {
  const std::string from = Printable(entry.from_version), to = Printable(entry.to_version);
  if (entry.outcome == Outcome::kCommitted) {
    return absl::StrCat("committed: ", from, " -> ", to, ", pid ", entry.pid, ", blackout ",
                        DurationText(entry.blackout_ns), ", ", entry.fds, " fds, ",
                        BytesText(entry.state_bytes), " of state");
  }
  std::string where;
  if (!entry.failed_phase.empty()) where = absl::StrCat(" while ", Printable(entry.failed_phase));
  return absl::StrCat(std::string(OutcomeName(entry.outcome)), where, ": ",
                      Printable(entry.message), " (", Printable(entry.code), "); ", from,
                      " serves, pid ", entry.pid, ", blackout ", DurationText(entry.blackout_ns));
}

std::string TableText(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      // The last column is not padded: it may be a long sentence.
      const bool last = i + 1 == row.size();
      text += last ? row[i] : absl::StrFormat("%-*s  ", static_cast<int>(widths[i]), row[i]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

}  // namespace liveexec::cli
