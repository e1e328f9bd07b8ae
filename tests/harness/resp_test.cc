#include "tests/harness/resp.h"

#include <gtest/gtest.h>

namespace liveexec::harness {
namespace {

// All replies in `bytes`, fed one byte at a time, as text.
std::vector<std::string> ParseByteByByte(std::string_view bytes) {
  RespParser parser;
  std::vector<std::string> replies;
  for (const char byte : bytes) {
    parser.Feed(std::string_view(&byte, 1));
    while (true) {
      auto value = parser.Next();
      if (!value.ok()) return {std::string(value.status().message())};
      if (!value->has_value()) break;
      replies.push_back((*value)->ToString());
    }
  }
  return replies;
}

using Replies = std::vector<std::string>;

TEST(RespParserTest, ParsesEveryKindOfRespTwoReply) {
  EXPECT_EQ(
      ParseByteByByte(
          "+OK\r\n-ERR no\r\n:-5\r\n$5\r\na\r\nbc\r\n$-1\r\n*-1\r\n*2\r\n$1\r\nx\r\n*1\r\n:1\r\n"),
      (Replies{"OK", "(error) ERR no", "-5", "a\r\nbc", "(nil)", "(nil)", "[x, [1]]"}));
}

TEST(RespParserTest, ParsesEveryKindOfRespThreeReply) {
  EXPECT_EQ(
      ParseByteByByte(
          "_\r\n#t\r\n,1.5\r\n(12345678901234567890\r\n%1\r\n+k\r\n:1\r\n~1\r\n+m\r\n>1\r\n+p\r\n"
          "!5\r\nERR x\r\n=7\r\ntxt:abc\r\n"),
      (Replies{"(nil)", "true", "1.5", "12345678901234567890", "[k, 1]", "[m]", "push[p]",
               "(error) ERR x", "txt:abc"}));
}

TEST(RespParserTest, ReportsWhatIsNotResp) {
  RespParser parser;
  parser.Feed("+OK\r\nnonsense");
  ASSERT_TRUE(parser.Next().ok());
  const auto value = parser.Next();
  ASSERT_FALSE(value.ok());
  EXPECT_EQ(value.status().message(), "not a RESP reply at byte 5: 'nonsense'");
}

TEST(RespParserTest, RefusesHostileLengthsAndDepths) {
  EXPECT_FALSE(ParseByteByByte("$99999999999\r\n")[0].find("not a RESP reply") ==
               std::string::npos);
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "*1\r\n";
  EXPECT_FALSE(ParseByteByByte(deep)[0].find("not a RESP reply") == std::string::npos);
}

TEST(RespCommandTest, IsAnArrayOfBulkStrings) {
  EXPECT_EQ(RespCommand({"SET", "", "a\r\n"}), "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$3\r\na\r\n\r\n");
}

}  // namespace
}  // namespace liveexec::harness
