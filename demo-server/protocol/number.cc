#include "demo-server/protocol/number.h"

#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace liveexec::demo {
namespace {

// No number that a client means is longer; strtold needs a terminated copy.
constexpr size_t kNumberChars = 5 * 1024;

template <typename Float, typename Convert>
bool ParseFloat(std::string_view text, Float* value, Convert convert) {
  if (text.empty() || text.size() >= kNumberChars ||
      isspace(static_cast<unsigned char>(text[0])) != 0) {
    return false;
  }
  char copy[kNumberChars];
  text.copy(copy, text.size());
  copy[text.size()] = '\0';
  char* end = nullptr;
  errno = 0;
  const Float parsed = convert(copy, &end);
  if (end != copy + text.size() || std::isnan(parsed)) return false;
  if (errno == ERANGE && (std::isinf(parsed) || std::fpclassify(parsed) == FP_ZERO)) return false;
  *value = parsed;
  return true;
}

}  // namespace

bool ParseInteger(std::string_view text, int64_t* value) {
  if (text.empty() || text.size() >= kIntegerChars) return false;
  const std::string_view digits = text[0] == '-' ? text.substr(1) : text;
  if (digits.empty() || digits[0] < '0' || digits[0] > '9') return false;
  if (digits[0] == '0' && text.size() > 1) return false;  // "007", "-0"
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

bool ParseDouble(std::string_view text, double* value) { return ParseFloat(text, value, strtod); }

bool ParseLongDouble(std::string_view text, long double* value) {
  return ParseFloat(text, value, strtold);
}

size_t WriteInteger(int64_t value, char* out) {
  return static_cast<size_t>(std::to_chars(out, out + kIntegerChars, value).ptr - out);
}

std::string FormatInteger(int64_t value) {
  char buffer[kIntegerChars];
  return std::string(buffer, WriteInteger(value, buffer));
}

std::string FormatDouble(double value) {
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  return std::string(buffer, static_cast<size_t>(snprintf(buffer, sizeof(buffer), "%.17g", value)));
}

std::string FormatLongDouble(long double value) {
  char buffer[kNumberChars];
  std::string text(buffer, static_cast<size_t>(snprintf(buffer, sizeof(buffer), "%.17Lf", value)));
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text == "-0" ? "0" : text;
}

}  // namespace liveexec::demo
