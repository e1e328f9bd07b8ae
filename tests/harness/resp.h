// The Redis protocol, as a client sees it: RESP2 and RESP3 replies, parsed as they arrive.
//
//   RespParser parser;
//   parser.Feed(bytes);
//   while (true) {
//     auto value = parser.Next();             // StatusOr<optional<RespValue>>
//     if (!value.ok()) Die(value.status());   // DataLoss: not RESP, with the offending byte's
//     position if (!value->has_value()) break;         // more bytes are needed Use(**value);
//   }
#ifndef LIVEEXEC_TESTS_HARNESS_RESP_H_
#define LIVEEXEC_TESTS_HARNESS_RESP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace liveexec::harness {

struct RespValue {
  enum class Kind : uint8_t {
    kNull,       // "_", "$-1", "*-1"
    kSimple,     // "+OK"
    kError,      // "-ERR ...", "!..."
    kInteger,    // ":1"
    kBulk,       // "$..." and "=..." (with its type in front)
    kArray,      // "*"
    kMap,        // "%": keys and values in turn
    kSet,        // "~"
    kPush,       // ">"
    kDouble,     // ",": the text
    kBoolean,    // "#": integer is 0 or 1
    kBigNumber,  // "(": the text
  };
  Kind kind = Kind::kNull;
  std::string text;
  int64_t integer = 0;
  std::vector<RespValue> elements;

  bool is_error() const { return kind == Kind::kError; }
  bool is_null() const { return kind == Kind::kNull; }
  // As redis-cli would show it, on one line: "OK", 1, [a, b], (error) ERR ..., (nil).
  std::string ToString() const;
};

// Not thread-safe. Bounded: nesting up to 32, bulk strings and aggregates up to 512 Mi.
class RespParser {
 public:
  void Feed(std::string_view bytes) { buffer_.append(bytes); }
  // The next whole reply, or nothing yet. After DataLoss the parser is of no more use.
  absl::StatusOr<std::optional<RespValue>> Next();
  size_t buffered() const { return buffer_.size() - consumed_; }

 private:
  std::string buffer_;
  size_t consumed_ = 0;   // of buffer_
  uint64_t dropped_ = 0;  // bytes that have left buffer_, for positions in messages
  size_t needed_ = 0;     // buffered() below this cannot hold a whole reply
};

// A command as clients send it: an array of bulk strings.
std::string RespCommand(const std::vector<std::string>& words);

// "$5\r\nhello\r\n"
std::string RespBulk(std::string_view text);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_RESP_H_
