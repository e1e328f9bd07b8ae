#include "demo-server/protocol/glob.h"

#include <cctype>
#include <cstddef>
#include <utility>

namespace liveexec::demo {
namespace {

unsigned char Fold(char c, bool ignore_case) {
  const auto byte = static_cast<unsigned char>(c);
  return ignore_case ? static_cast<unsigned char>(tolower(byte)) : byte;
}

// Matches `c` against the class that starts at pattern[at] == '['; sets `at` to the first byte
// after it. An unterminated class ends with the pattern.
bool MatchClass(std::string_view pattern, size_t& at, char c, bool ignore_case) {
  const unsigned char wanted = Fold(c, ignore_case);
  ++at;
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool found = false;
  while (at < pattern.size() && pattern[at] != ']') {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) {
      ++at;
      found = found || Fold(pattern[at], ignore_case) == wanted;
      ++at;
    } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
      unsigned char low = Fold(pattern[at], ignore_case);
      unsigned char high = Fold(pattern[at + 2], ignore_case);
      if (low > high) std::swap(low, high);
      found = found || (low <= wanted && wanted <= high);
      at += 3;
    } else {
      found = found || Fold(pattern[at], ignore_case) == wanted;
      ++at;
    }
  }
  if (at < pattern.size()) ++at;  // the ']'
  return found != negated;
}

// Matches one byte of text against the pattern's element at `at`, which is not '*', and steps over
// it.
bool MatchOne(std::string_view pattern, size_t& at, char c, bool ignore_case) {
  if (pattern[at] == '?') {
    ++at;
    return true;
  }
  if (pattern[at] == '[') return MatchClass(pattern, at, c, ignore_case);
  if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
  return Fold(pattern[at++], ignore_case) == Fold(c, ignore_case);
}

}  // namespace

bool GlobMatch(std::string_view pattern, std::string_view text, bool ignore_case) {
  size_t at = 0;
  size_t position = 0;
  // Where to go on when what follows the last '*' does not match: it swallows one byte more. An
  // earlier '*' need not be tried again.
  size_t star = std::string_view::npos;
  size_t star_position = 0;
  while (position < text.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = ++at;
      star_position = position;
      continue;
    }
    if (at < pattern.size()) {
      size_t next = at;
      if (MatchOne(pattern, next, text[position], ignore_case)) {
        at = next;
        ++position;
        continue;
      }
    }
    if (star == std::string_view::npos) return false;
    at = star;
    position = ++star_position;
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

}  // namespace liveexec::demo
