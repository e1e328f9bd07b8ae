#include "tests/harness/resp.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace liveexec::harness {

namespace {

constexpr int kMaxDepth = 32;
constexpr int64_t kMaxLength = int64_t{512} << 20;

// One attempt to parse a whole reply from the start of `text`.
class Attempt {
 public:
  explicit Attempt(std::string_view text) : text_(text) {}

  enum class Result : uint8_t { kWhole, kIncomplete, kMalformed };

  Result Parse(RespValue& value, int depth = 0);
  size_t position() const { return position_; }
  size_t needed() const { return needed_; }  // after kIncomplete

 private:
  using Kind = RespValue::Kind;

  bool Line(std::string_view& line) {
    const size_t end = text_.find("\r\n", position_);
    if (end == std::string_view::npos) {
      needed_ = text_.size() + 1;
      return false;
    }
    line = text_.substr(position_, end - position_);
    position_ = end + 2;
    return true;
  }
  Result Scalar(RespValue& value, Kind kind, std::string_view line);
  Result Bulk(RespValue& value, Kind kind, std::string_view line);
  Result Aggregate(RespValue& value, Kind kind, std::string_view line, int depth);

  std::string_view text_;
  size_t position_ = 0;
  size_t needed_ = 0;
};

Attempt::Result Attempt::Scalar(RespValue& value, Kind kind, std::string_view line) {
  value.kind = kind;
  value.text = std::string(line);
  if (kind == Kind::kInteger &&
      !absl::SimpleAtoi(absl::string_view(line.data(), line.size()), &value.integer)) {
    return Result::kMalformed;
  }
  if (kind == Kind::kBoolean) value.integer = line == "t" ? 1 : 0;
  return Result::kWhole;
}

Attempt::Result Attempt::Bulk(RespValue& value, Kind kind, std::string_view line) {
  int64_t length = 0;
  if (!absl::SimpleAtoi(absl::string_view(line.data(), line.size()), &length) || length < -1 ||
      length > kMaxLength) {
    return Result::kMalformed;
  }
  if (length < 0) return Result::kWhole;  // null
  const size_t end = position_ + static_cast<size_t>(length);
  if (text_.size() < end + 2) {
    needed_ = end + 2;
    return Result::kIncomplete;
  }
  if (text_.substr(end, 2) != "\r\n") {
    position_ = end;
    return Result::kMalformed;
  }
  value.kind = kind;
  value.text = std::string(text_.substr(position_, static_cast<size_t>(length)));
  position_ = end + 2;
  return Result::kWhole;
}

Attempt::Result Attempt::Aggregate(RespValue& value, Kind kind, std::string_view line, int depth) {
  int64_t length = 0;
  if (!absl::SimpleAtoi(absl::string_view(line.data(), line.size()), &length) || length < -1 ||
      length > kMaxLength) {
    return Result::kMalformed;
  }
  if (length < 0) return Result::kWhole;  // null
  value.kind = kind;
  const int64_t count = kind == Kind::kMap ? 2 * length : length;
  for (int64_t i = 0; i < count; ++i) {
    value.elements.emplace_back();
    if (const Result result = Parse(value.elements.back(), depth + 1); result != Result::kWhole)
      return result;
  }
  return Result::kWhole;
}

Attempt::Result Attempt::Parse(RespValue& value, int depth) {
  if (depth > kMaxDepth) return Result::kMalformed;
  if (position_ >= text_.size()) {
    needed_ = text_.size() + 1;
    return Result::kIncomplete;
  }
  const size_t start = position_;
  const char type = text_[position_++];
  std::string_view line;
  static constexpr std::string_view kTypes = "+-:$*_#,(!=%~>";
  if (kTypes.find(type) == std::string_view::npos) {
    position_ = start;
    return Result::kMalformed;
  }
  if (!Line(line)) return Result::kIncomplete;
  switch (type) {
    case '+':
      return Scalar(value, Kind::kSimple, line);
    case '-':
      return Scalar(value, Kind::kError, line);
    case ':':
      return Scalar(value, Kind::kInteger, line);
    case ',':
      return Scalar(value, Kind::kDouble, line);
    case '#':
      return Scalar(value, Kind::kBoolean, line);
    case '(':
      return Scalar(value, Kind::kBigNumber, line);
    case '_':
      return Scalar(value, Kind::kNull, line);
    case '$':
    case '=':
      return Bulk(value, Kind::kBulk, line);
    case '!':
      return Bulk(value, Kind::kError, line);
    case '*':
      return Aggregate(value, Kind::kArray, line, depth);
    case '%':
      return Aggregate(value, Kind::kMap, line, depth);
    case '~':
      return Aggregate(value, Kind::kSet, line, depth);
    default:
      return Aggregate(value, Kind::kPush, line, depth);
  }
}

}  // namespace

std::string RespValue::ToString() const {
  switch (kind) {
    case Kind::kNull:
      return "(nil)";
    case Kind::kError:
      return absl::StrCat("(error) ", text);
    case Kind::kInteger:
      return absl::StrCat(integer);
    case Kind::kBoolean:
      return integer != 0 ? "true" : "false";
    case Kind::kArray:
    case Kind::kMap:
    case Kind::kSet:
    case Kind::kPush:
      return absl::StrCat(kind == Kind::kPush ? "push[" : "[",
                          absl::StrJoin(elements, ", ",
                                        [](std::string* out, const RespValue& value) {
                                          out->append(value.ToString());
                                        }),
                          "]");
    default:
      return text;
  }
}

absl::StatusOr<std::optional<RespValue>> RespParser::Next() {
  // Not before it can be whole: parsing a long reply anew at each arrival would take quadratic
  // time.
  if (buffered() < needed_ || buffered() == 0) return std::nullopt;
  Attempt attempt(std::string_view(buffer_).substr(consumed_));
  RespValue value;
  const Attempt::Result result = attempt.Parse(value);
  if (result == Attempt::Result::kIncomplete) {
    needed_ = attempt.needed();
    return std::nullopt;
  }
  if (result == Attempt::Result::kMalformed) {
    const size_t at = consumed_ + attempt.position();
    return absl::DataLossError(absl::StrCat("not a RESP reply at byte ", dropped_ + at, ": '",
                                            absl::string_view(buffer_).substr(at, 40), "'"));
  }
  needed_ = 0;
  consumed_ += attempt.position();
  if (consumed_ == buffer_.size() || consumed_ > (size_t{1} << 16)) {
    buffer_.erase(0, consumed_);
    dropped_ += consumed_;
    consumed_ = 0;
  }
  return value;
}

std::string RespBulk(std::string_view text) {
  std::string bulk = absl::StrCat("$", text.size(), "\r\n");
  bulk.append(text).append("\r\n");
  return bulk;
}

std::string RespCommand(const std::vector<std::string>& words) {
  std::string command = absl::StrCat("*", words.size(), "\r\n");
  for (const std::string& word : words) command += RespBulk(word);
  return command;
}

}  // namespace liveexec::harness
