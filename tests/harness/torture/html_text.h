// Pieces of HTML that several parts of the report need.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_HTML_TEXT_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_HTML_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace liveexec::harness {

inline std::string HtmlText(const std::string& text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// "12.3"
inline std::string Ms(int64_t ns) { return absl::StrFormat("%.1f", static_cast<double>(ns) / 1e6); }

// 1234567 -> "1,234,567"
inline std::string Grouped(uint64_t value) {
  std::string digits = absl::StrCat(value);
  for (size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

// "/srv/bin/server-v2" -> "server-v2"
inline std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_HTML_TEXT_H_
