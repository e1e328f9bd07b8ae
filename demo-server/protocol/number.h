// Numbers as Redis reads and writes them: strictly.
#ifndef LIVEEXEC_DEMO_SERVER_PROTOCOL_NUMBER_H_
#define LIVEEXEC_DEMO_SERVER_PROTOCOL_NUMBER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace liveexec::demo {

// A decimal 64-bit integer in its one canonical form: no sign but '-', no leading zeros, no blanks.
bool ParseInteger(std::string_view text, int64_t* value);
// What strtod takes as a whole, infinities included, but no leading blanks, no NaN and no overflow.
bool ParseDouble(std::string_view text, double* value);
bool ParseLongDouble(std::string_view text, long double* value);

// Writes `value` to `out` and returns the length. kIntegerChars are enough.
inline constexpr size_t kIntegerChars = 21;
size_t WriteInteger(int64_t value, char* out);
std::string FormatInteger(int64_t value);
// "%.17g", or "inf", "-inf": the replies of sorted sets.
std::string FormatDouble(double value);
// Fixed-point without trailing zeros: INCRBYFLOAT.
std::string FormatLongDouble(long double value);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_PROTOCOL_NUMBER_H_
