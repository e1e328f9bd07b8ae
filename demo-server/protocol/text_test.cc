#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "demo-server/protocol/glob.h"
#include "demo-server/protocol/number.h"
#include "demo-server/protocol/quote.h"
#include "demo-server/protocol/reply.h"

namespace liveexec::demo {
namespace {

TEST(ParseInteger, TakesTheCanonicalFormOnly) {
  int64_t value = 0;
  EXPECT_TRUE(ParseInteger("-9223372036854775808", &value));
  EXPECT_EQ(value, std::numeric_limits<int64_t>::min());
  EXPECT_TRUE(ParseInteger("0", &value));
  for (const char* text : {"", "-", "+1", " 1", "1 ", "01", "-0", "1.0", "9223372036854775808",
                           "99999999999999999999999"}) {
    EXPECT_FALSE(ParseInteger(text, &value)) << text;
  }
}

TEST(ParseDouble, TakesWhatStrtodTakesButNoBlanksNanOrOverflow) {
  double value = 0;
  EXPECT_TRUE(ParseDouble("-1.5e3", &value));
  EXPECT_EQ(value, -1500);
  EXPECT_TRUE(ParseDouble("-inf", &value));
  for (const char* text : {"", " 1", "1 ", "nan", "1e400", "x", "1x"}) {
    EXPECT_FALSE(ParseDouble(text, &value)) << text;
  }
}

TEST(FormatDouble, IsExact) {
  EXPECT_EQ(FormatDouble(3), "3");
  EXPECT_EQ(FormatDouble(1.1), "1.1000000000000001");
  EXPECT_EQ(FormatDouble(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(FormatLongDouble, HasNoTrailingZeros) {
  EXPECT_EQ(FormatLongDouble(3.0L), "3");
  EXPECT_EQ(FormatLongDouble(5.5L), "5.5");
  EXPECT_EQ(FormatLongDouble(-0.0L), "0");
  EXPECT_EQ(FormatLongDouble(100.0L), "100");
}

TEST(GlobMatch, KnowsAllForms) {
  EXPECT_TRUE(GlobMatch("*", ""));
  EXPECT_TRUE(GlobMatch("h?llo", "hello"));
  EXPECT_TRUE(GlobMatch("h*o", "ho"));
  EXPECT_TRUE(GlobMatch("a*b*c", "aXbYbZc"));
  EXPECT_TRUE(GlobMatch("h[ae]llo", "hallo"));
  EXPECT_FALSE(GlobMatch("h[^e]llo", "hello"));
  EXPECT_TRUE(GlobMatch("[a-c]", "b"));
  EXPECT_TRUE(GlobMatch("[c-a]", "b"));
  EXPECT_TRUE(GlobMatch("\\*", "*"));
  EXPECT_FALSE(GlobMatch("\\*", "x"));
  EXPECT_TRUE(GlobMatch("[\\]]", "]"));
  EXPECT_FALSE(GlobMatch("a", "ab"));
  EXPECT_TRUE(GlobMatch("HeLLo", "hEllO", /*ignore_case=*/true));
  EXPECT_TRUE(GlobMatch("[", "") == false && GlobMatch("a[", "ab") == false);
}

TEST(GlobMatch, EndsSoonOnPatternsMadeToTakeForever) {
  std::string pattern;
  for (int i = 0; i < 1000; ++i) pattern += "a*";
  EXPECT_FALSE(GlobMatch(pattern + "b", std::string(5000, 'a')));
}

TEST(Quote, EscapesWhatDoesNotPrint) {
  EXPECT_EQ(Quote(std::string_view("a\"\n\x01\\", 5)), "\"a\\\"\\n\\x01\\\\\"");
}

TEST(Reply, UsesTheProtocolThatTheClientSpeaks) {
  std::string out;
  Reply two(&out, 2);
  two.Null();
  two.NullArray();
  two.Map(1);
  two.Set(2);
  two.Push(3);
  two.Double(1.5);
  two.Verbatim("x");
  EXPECT_EQ(out, "$-1\r\n*-1\r\n*2\r\n*2\r\n*3\r\n$3\r\n1.5\r\n$1\r\nx\r\n");
  out.clear();
  Reply three(&out, 3);
  three.Null();
  three.NullArray();
  three.Map(1);
  three.Set(2);
  three.Push(3);
  three.Double(1.5);
  three.Verbatim("x");
  EXPECT_EQ(out, "_\r\n_\r\n%1\r\n~2\r\n>3\r\n,1.5\r\n=5\r\ntxt:x\r\n");
}

TEST(Reply, KeepsAnErrorOnOneLine) {
  std::string out;
  Reply(&out, 2).Error("ERR a\r\n+OK");
  EXPECT_EQ(out, "-ERR a  +OK\r\n");
}

}  // namespace
}  // namespace liveexec::demo
