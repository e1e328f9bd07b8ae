// Reply: appends replies to a client's output, in the protocol version that the client speaks.
//
// In RESP2 the types of RESP3 become what Redis sends instead: maps become flat arrays, doubles
// strings. Borrowed output; not thread-safe.
#ifndef LIVEEXEC_DEMO_SERVER_PROTOCOL_REPLY_H_
#define LIVEEXEC_DEMO_SERVER_PROTOCOL_REPLY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "demo-server/protocol/number.h"

namespace liveexec::demo {

// Errors as Redis words them.
inline constexpr std::string_view kSyntaxError = "ERR syntax error";
inline constexpr std::string_view kNotInteger = "ERR value is not an integer or out of range";
inline constexpr std::string_view kNotFloat = "ERR value is not a valid float";
inline constexpr std::string_view kNoSuchKey = "ERR no such key";
inline constexpr std::string_view kIndexOutOfRange = "ERR index out of range";
inline constexpr std::string_view kOutOfMemory =
    "OOM command not allowed when used memory > 'maxmemory'.";
inline constexpr std::string_view kWrongType =
    "WRONGTYPE Operation against a key holding the wrong kind of value";

class Reply {
 public:
  // `protocol` is 2 or 3.
  Reply(std::string* out, int protocol) : out_(out), protocol_(protocol) {}

  int protocol() const { return protocol_; }
  void set_protocol(int protocol) { protocol_ = protocol; }
  size_t errors() const { return errors_; }
  // Of the output; takes back what was appended since it was `size`.
  size_t size() const { return out_->size(); }
  void Truncate(size_t size) { out_->resize(size); }

  void Ok() { out_->append("+OK\r\n", 5); }
  void Simple(std::string_view text);
  // `text` begins with its code: "ERR no such key". Line ends in it become blanks.
  void Error(std::string_view text);
  void Integer(int64_t value) { Header(':', value); }
  void Bool(bool value);  // 1 or 0 in RESP2
  void Bulk(std::string_view bytes);
  void BulkInteger(int64_t value);
  void Double(double value);
  // Decimal digits; a string in RESP2.
  void BigNumber(std::string_view digits);
  // A text for humans, of type txt.
  void Verbatim(std::string_view text);

  void Null();       // "$-1" in RESP2
  void NullArray();  // "*-1" in RESP2

  void Array(size_t size) { Header('*', static_cast<int64_t>(size)); }
  void Map(size_t pairs);
  void Set(size_t size) { Header(protocol_ == 2 ? '*' : '~', static_cast<int64_t>(size)); }
  // RESP3 only: it precedes the reply that it is about.
  void Attribute(size_t pairs) { Header('|', static_cast<int64_t>(pairs)); }
  void Push(size_t size) { Header(protocol_ == 2 ? '*' : '>', static_cast<int64_t>(size)); }

 private:
  void Header(char type, int64_t number);

  std::string* out_;
  int protocol_;
  size_t errors_ = 0;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_PROTOCOL_REPLY_H_
