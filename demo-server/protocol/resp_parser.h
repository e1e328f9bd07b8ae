// RespParser: cuts a client's bytes into commands, without copying them.
//
//   while (true) {
//     switch (parser.Next(input)) {
//       case RespParser::kCommand:
//         Run(parser.arguments());              // views into input; may be empty: nothing to do
//         input.remove_prefix(parser.length());
//         break;
//       case RespParser::kIncomplete:
//         return;  // call again with the same bytes and more behind them
//       case RespParser::kError:
//         Fail(parser.error());                 // and close the connection
//     }
//   }
//
// A call with more bytes goes on where the last one stopped, so a command that arrives in a
// thousand pieces is looked at once. What the parser remembers are offsets from the command's first
// byte: the bytes may move between calls, and a parser that starts anew on the same bytes (after an
// upgrade) comes to the same point.
//
// Limits are those of Redis 7: arguments up to 512 MiB, their number up to 2^31-1, lines up to 64
// KiB.
#ifndef LIVEEXEC_DEMO_SERVER_PROTOCOL_RESP_PARSER_H_
#define LIVEEXEC_DEMO_SERVER_PROTOCOL_RESP_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace liveexec::demo {

class RespParser {
 public:
  static constexpr int64_t kMaxBulk = int64_t{512} << 20;
  static constexpr size_t kMaxLine = 64 * 1024;

  enum Result { kCommand, kIncomplete, kError };

  Result Next(std::string_view input);

  // The client has yet to say who it is: it may send no more than ten arguments of 16 KiB.
  void set_stranger(bool stranger) { stranger_ = stranger; }

  // After kCommand, until the next call: views into the input (or, for an inline command with
  // quotes, into the parser).
  const std::vector<std::string_view>& arguments() const { return arguments_; }
  // After kCommand: the bytes that the command took.
  size_t length() const { return length_; }
  // After kIncomplete: no command is complete before this many bytes are there.
  size_t wanted() const { return wanted_; }
  // After kError: as Redis words it, without "-ERR ".
  const std::string& error() const { return error_; }
  // After kIncomplete: the complete arguments of the command so far.
  size_t arguments_so_far() const { return slices_.size(); }

 private:
  struct Slice {
    size_t offset;
    size_t size;
  };
  enum class Line { kDone, kIncomplete, kTooLong };

  Result NextInline(std::string_view input);
  Result ReadCount(std::string_view input);
  Result ReadBulks(std::string_view input);
  Line FindLine(std::string_view input, size_t from, char end, size_t* at);
  Result Incomplete(std::string_view input, size_t wanted);
  Result Fail(std::string_view message);
  void StartOver();
  // Splits at blanks, with quotes. False when they are unbalanced.
  bool SplitInline(std::string_view line);

  std::vector<std::string_view> arguments_;
  std::vector<std::string> inline_arguments_;  // what the views point to after an inline command
  std::vector<Slice> slices_;                  // the arguments so far
  std::string error_;
  bool stranger_ = false;
  size_t length_ = 0;
  size_t wanted_ = 1;
  size_t position_ = 0;    // everything before it has been understood
  size_t searched_ = 0;    // no line end in [position_, searched_)
  int64_t remaining_ = 0;  // arguments to come; 0 before the count is known
  int64_t bulk_ = -1;      // size of the argument at position_, or -1 before it is known
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_PROTOCOL_RESP_PARSER_H_
