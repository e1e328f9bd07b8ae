#include "tests/harness/http.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/error.h"

namespace liveexec::harness {

namespace {

constexpr size_t kMaxHead = 1 << 16;
constexpr uint64_t kMaxBody = uint64_t{512} << 20;

struct Head {
  HttpResponse response;
  uint64_t length = 0;
  bool chunked = false;
};

absl::Status NotHttp(std::string_view what) {
  return absl::DataLossError(absl::StrCat("not an HTTP response: '",
                                          absl::CHexEscape(std::string(what.substr(0, 60))), "'"));
}

absl::StatusOr<Head> ParseHead(std::string_view text) {
  Head head;
  const std::vector<std::string> lines = absl::StrSplit(std::string(text), "\r\n");
  if (!absl::StartsWith(lines[0], "HTTP/1.") || lines[0].size() < 12 ||
      !absl::SimpleAtoi(lines[0].substr(9, 3), &head.response.status)) {
    return NotHttp(text);
  }
  for (size_t i = 1; i < lines.size(); ++i) {
    const size_t colon = lines[i].find(':');
    if (colon == std::string::npos) return NotHttp(lines[i]);
    const std::string name = absl::AsciiStrToLower(lines[i].substr(0, colon));
    const std::string value =
        absl::AsciiStrToLower(std::string(absl::StripAsciiWhitespace(lines[i].substr(colon + 1))));
    if (name == "content-length" &&
        (!absl::SimpleAtoi(value, &head.length) || head.length > kMaxBody)) {
      return NotHttp(lines[i]);
    }
    if (name == "transfer-encoding") head.chunked = absl::StrContains(value, "chunked");
    if (name == "connection") head.response.closes = absl::StrContains(value, "close");
  }
  return head;
}

// Takes a chunked body from `text`; the number of bytes that it took, or 0: more are needed.
absl::StatusOr<size_t> TakeChunks(std::string_view text, std::string& body) {
  size_t at = 0;
  while (true) {
    const size_t end = text.find("\r\n", at);
    if (end == std::string_view::npos) return size_t{0};
    uint64_t size = 0;
    const std::string digits(text.substr(at, std::min(end, text.find(';', at)) - at));
    if (!absl::SimpleHexAtoi(digits, &size) || size > kMaxBody) return NotHttp(digits);
    at = end + 2;
    if (text.size() < at + size + 2) return size_t{0};
    if (text.substr(at + size, 2) != "\r\n") return NotHttp(text.substr(at + size));
    if (size == 0) return at + 2;
    body.append(text.substr(at, size));
    at += size + 2;
  }
}

}  // namespace

absl::StatusOr<std::optional<HttpResponse>> HttpParser::Next() {
  if (buffer_.empty()) return std::nullopt;
  const std::string_view expected = "HTTP/1.";
  const size_t compared = std::min(buffer_.size(), expected.size());
  if (buffer_.compare(0, compared, expected.substr(0, compared)) != 0) return NotHttp(buffer_);
  const size_t end = buffer_.find("\r\n\r\n");
  if (end == std::string::npos) {
    if (buffer_.size() > kMaxHead) return NotHttp(buffer_);
    return std::nullopt;
  }
  const std::string_view text = buffer_;
  LIVEEXEC_ASSIGN_OR_RETURN(Head head, ParseHead(text.substr(0, end)));
  const std::string_view rest = text.substr(end + 4);
  size_t taken = 0;
  if (head.chunked) {
    LIVEEXEC_ASSIGN_OR_RETURN(taken, TakeChunks(rest, head.response.body));
    if (taken == 0) return std::nullopt;
  } else {
    if (rest.size() < head.length) return std::nullopt;
    taken = head.length;
    head.response.body = std::string(rest.substr(0, taken));
  }
  buffer_.erase(0, end + 4 + taken);
  return std::move(head.response);
}

}  // namespace liveexec::harness
