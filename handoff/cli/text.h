// Values as text for people.
#ifndef LIVEEXEC_HANDOFF_CLI_TEXT_H_
#define LIVEEXEC_HANDOFF_CLI_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "handoff/journal.h"

namespace liveexec::cli {

std::string DurationText(int64_t nanoseconds);  // "850 us", "3.21 ms", "1.204 s"
std::string BytesText(uint64_t bytes);          // "812 B", "12.3 KiB"
std::string AgeText(int64_t nanoseconds);       // "4m 12s", "3d 4h"
std::string TimeText(int64_t unix_ns);          // local time: "2026-11-21 11:11:56"

// What others wrote, fit for a terminal: no control characters.
std::string Printable(const std::string& text);

// One line on what became of an upgrade.
std::string SummaryText(const JournalEntry& entry);

// Rows of cells in aligned columns; the first row is the heading.
std::string TableText(const std::vector<std::vector<std::string>>& rows);

}  // namespace liveexec::cli

#endif  // LIVEEXEC_HANDOFF_CLI_TEXT_H_
