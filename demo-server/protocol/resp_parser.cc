#include "demo-server/protocol/resp_parser.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "demo-server/protocol/number.h"

namespace liveexec::demo {
namespace {

constexpr int64_t kMaxArguments = INT32_MAX;
constexpr int64_t kMaxStrangerArguments = 10;
constexpr int64_t kMaxStrangerBulk = 16384;

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool IsSpace(char c) { return isspace(static_cast<unsigned char>(c)) != 0; }

// One byte of a double-quoted string at line[at]; steps over it.
char Unescape(std::string_view line, size_t& at) {
  if (line[at] != '\\' || at + 1 >= line.size()) return line[at++];
  if (line[at + 1] == 'x' && at + 3 < line.size() && HexDigit(line[at + 2]) >= 0 &&
      HexDigit(line[at + 3]) >= 0) {
    const int value = HexDigit(line[at + 2]) * 16 + HexDigit(line[at + 3]);
    at += 4;
    return static_cast<char>(value);
  }
  const char c = line[at + 1];
  at += 2;
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

// The quoted string that starts at line[at]. False when it does not end, or when something follows
// its end.
bool ReadQuoted(std::string_view line, size_t& at, std::string& out) {
  const char quote = line[at++];
  while (at < line.size() && line[at] != quote) {
    if (quote == '"') {
      out.push_back(Unescape(line, at));
    } else if (line[at] == '\\' && at + 1 < line.size() && line[at + 1] == '\'') {
      out.push_back('\'');
      at += 2;
    } else {
      out.push_back(line[at++]);
    }
  }
  if (at >= line.size()) return false;
  ++at;
  return at == line.size() || IsSpace(line[at]);
}

}  // namespace

RespParser::Result RespParser::Next(std::string_view input) {
  if (input.empty()) return Incomplete(input, 1);
  if (input[0] != '*') return NextInline(input);
  if (remaining_ == 0) {
    const Result result = ReadCount(input);
    if (result != kCommand || remaining_ == 0) return result;
  }
  return ReadBulks(input);
}

RespParser::Result RespParser::ReadCount(std::string_view input) {
  size_t end = 0;
  switch (FindLine(input, 1, '\r', &end)) {
    case Line::kTooLong:
      return Fail("Protocol error: too big mbulk count string");
    case Line::kIncomplete:
      return Incomplete(input, input.size() + 1);
    case Line::kDone:
      break;
  }
  int64_t count = 0;
  if (!ParseInteger(input.substr(1, end - 1), &count) || count > kMaxArguments) {
    return Fail("Protocol error: invalid multibulk length");
  }
  if (stranger_ && count > kMaxStrangerArguments) {
    return Fail("Protocol error: unauthenticated multibulk length");
  }
  position_ = end + 2;
  searched_ = position_;
  if (count <= 0) {
    arguments_.clear();
    length_ = position_;
    StartOver();
    return kCommand;
  }
  remaining_ = count;
  return kCommand;
}

RespParser::Result RespParser::ReadBulks(std::string_view input) {
  while (remaining_ > 0) {
    if (bulk_ < 0) {
      if (position_ >= input.size()) return Incomplete(input, position_ + 1);
      size_t end = 0;
      switch (FindLine(input, position_, '\r', &end)) {
        case Line::kTooLong:
          return Fail("Protocol error: too big bulk count string");
        case Line::kIncomplete:
          return Incomplete(input, input.size() + 1);
        case Line::kDone:
          break;
      }
      if (input[position_] != '$') {
        return Fail(std::string("Protocol error: expected '$', got '") + input[position_] + "'");
      }
      int64_t size = 0;
      if (!ParseInteger(input.substr(position_ + 1, end - position_ - 1), &size) || size < 0 ||
          size > kMaxBulk) {
        return Fail("Protocol error: invalid bulk length");
      }
      if (stranger_ && size > kMaxStrangerBulk) {
        return Fail("Protocol error: unauthenticated bulk length");
      }
      bulk_ = size;
      position_ = end + 2;
    }
    const size_t size = static_cast<size_t>(bulk_);
    if (input.size() < position_ + size + 2) return Incomplete(input, position_ + size + 2);
    slices_.push_back({position_, size});
    position_ += size + 2;
    searched_ = position_;
    bulk_ = -1;
    --remaining_;
  }
  arguments_.clear();
  for (const Slice& slice : slices_) arguments_.push_back(input.substr(slice.offset, slice.size));
  length_ = position_;
  StartOver();
  return kCommand;
}

RespParser::Result RespParser::NextInline(std::string_view input) {
  size_t end = 0;
  switch (FindLine(input, 0, '\n', &end)) {
    case Line::kTooLong:
      return Fail("Protocol error: too big inline request");
    case Line::kIncomplete:
      return Incomplete(input, input.size() + 1);
    case Line::kDone:
      break;
  }
  std::string_view line = input.substr(0, end);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (!SplitInline(line)) return Fail("Protocol error: unbalanced quotes in request");
  arguments_.assign(inline_arguments_.begin(), inline_arguments_.end());
  length_ = end + 1;
  StartOver();
  return kCommand;
}

bool RespParser::SplitInline(std::string_view line) {
  inline_arguments_.clear();
  size_t at = 0;
  while (true) {
    while (at < line.size() && (IsSpace(line[at]) || line[at] == '\0')) ++at;
    if (at == line.size()) return true;
    std::string& argument = inline_arguments_.emplace_back();
    while (at < line.size() && !IsSpace(line[at]) && line[at] != '\0') {
      if (line[at] == '"' || line[at] == '\'') {
        if (!ReadQuoted(line, at, argument)) return false;
      } else {
        argument.push_back(line[at++]);
      }
    }
  }
}

RespParser::Line RespParser::FindLine(std::string_view input, size_t from, char end, size_t* at) {
  searched_ = std::max(searched_, from);
  const size_t available = input.size();
  const void* found = searched_ < available
                          ? memchr(input.data() + searched_, end, available - searched_)
                          : nullptr;
  if (found == nullptr) {
    searched_ = available;
    return available - std::min(from, available) > kMaxLine ? Line::kTooLong : Line::kIncomplete;
  }
  const size_t position = static_cast<size_t>(static_cast<const char*>(found) - input.data());
  // The '\n' that follows a '\r' must be there too: it is stepped over.
  if (end == '\r' && position + 1 >= available) {
    searched_ = position;
    return Line::kIncomplete;
  }
  *at = position;
  return Line::kDone;
}

RespParser::Result RespParser::Incomplete(std::string_view input, size_t wanted) {
  wanted_ = std::max(wanted, input.size() + 1);
  return kIncomplete;
}

RespParser::Result RespParser::Fail(std::string_view message) {
  error_ = message;
  return kError;
}

void RespParser::StartOver() {
  slices_.clear();
  if (slices_.capacity() > 1024) slices_.shrink_to_fit();
  position_ = 0;
  searched_ = 0;
  remaining_ = 0;
  bulk_ = -1;
}

}  // namespace liveexec::demo
