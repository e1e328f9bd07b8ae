#include "demo-server/protocol/resp_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace liveexec::demo {
namespace {

using Arguments = std::vector<std::string>;

Arguments Copy(const std::vector<std::string_view>& views) { return {views.begin(), views.end()}; }

// All commands of `input`, given whole. Ends at the first thing that is not a command.
std::vector<Arguments> ParseAll(std::string_view input) {
  RespParser parser;
  std::vector<Arguments> commands;
  while (parser.Next(input) == RespParser::kCommand) {
    commands.push_back(Copy(parser.arguments()));
    input.remove_prefix(parser.length());
  }
  return commands;
}

std::string ErrorOf(std::string_view input) {
  RespParser parser;
  while (true) {
    switch (parser.Next(input)) {
      case RespParser::kCommand:
        input.remove_prefix(parser.length());
        break;
      case RespParser::kIncomplete:
        return "incomplete";
      case RespParser::kError:
        return parser.error();
    }
  }
}

const char kMixed[] =
    "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nb\n\r\n"
    "PING\r\n"
    "\r\n"
    "set key \"a b\\x41\\n\" 'it\\'s'\n"
    "*0\r\n*-1\r\n"
    "*2\r\n$3\r\nGET\r\n$0\r\n\r\n";

const std::vector<Arguments> kMixedCommands = {
    {"SET", "k", "a\r\nb\n"}, {"PING"}, {}, {"set", "key", "a bA\n", "it's"}, {}, {}, {"GET", ""}};

TEST(RespParser, ReadsBothFormsOfCommands) { EXPECT_EQ(ParseAll(kMixed), kMixedCommands); }

TEST(RespParser, ReadsTheSameHoweverTheInputIsCut) {
  const std::string_view input(kMixed, sizeof(kMixed) - 1);
  for (size_t piece = 1; piece < input.size(); ++piece) {
    RespParser parser;
    std::vector<Arguments> commands;
    size_t consumed = 0;
    for (size_t end = piece; consumed < input.size(); end += piece) {
      // A fresh copy each time: the parser may not depend on where the bytes are.
      const std::string available(input.substr(consumed, std::min(end, input.size()) - consumed));
      std::string_view rest = available;
      while (parser.Next(rest) == RespParser::kCommand) {
        commands.push_back(Copy(parser.arguments()));
        consumed += parser.length();
        rest.remove_prefix(parser.length());
      }
    }
    ASSERT_EQ(commands, kMixedCommands) << "pieces of " << piece;
  }
}

TEST(RespParser, SaysHowManyBytesACommandWants) {
  RespParser parser;
  const std::string head = "*2\r\n$3\r\nGET\r\n$1000000\r\n";
  ASSERT_EQ(parser.Next(head), RespParser::kIncomplete);
  EXPECT_EQ(parser.wanted(), head.size() + 1000000 + 2);
  EXPECT_EQ(parser.arguments_so_far(), 1u);
  ASSERT_EQ(parser.Next(head + std::string(500, 'x')), RespParser::kIncomplete);
  EXPECT_EQ(parser.wanted(), head.size() + 1000000 + 2);
  EXPECT_EQ(parser.Next(head + std::string(1000000, 'x') + "\r\n"), RespParser::kCommand);
}

TEST(RespParser, ANewParserComesToTheSamePointOnTheSameBytes) {
  const std::string bytes = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n012";
  RespParser first;
  ASSERT_EQ(first.Next(bytes.substr(0, 9)), RespParser::kIncomplete);
  ASSERT_EQ(first.Next(bytes), RespParser::kIncomplete);
  RespParser second;
  ASSERT_EQ(second.Next(bytes), RespParser::kIncomplete);
  EXPECT_EQ(first.wanted(), second.wanted());
  EXPECT_EQ(first.arguments_so_far(), second.arguments_so_far());
}

TEST(RespParser, RefusesWhatRedisRefusesInItsWords) {
  EXPECT_EQ(ErrorOf("*a\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(ErrorOf("*2147483648\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(ErrorOf("*1\r\n+OK\r\n"), "Protocol error: expected '$', got '+'");
  EXPECT_EQ(ErrorOf("*1\r\n$-1\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(ErrorOf("*1\r\n$536870913\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(ErrorOf("*1\r\n$1x\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(ErrorOf("get \"k\r\n"), "Protocol error: unbalanced quotes in request");
  EXPECT_EQ(ErrorOf("get \"k\"x\r\n"), "Protocol error: unbalanced quotes in request");
}

TEST(RespParser, BoundsLinesWithoutAnEnd) {
  const std::string endless(RespParser::kMaxLine + 1, '1');
  EXPECT_EQ(ErrorOf(endless), "Protocol error: too big inline request");
  EXPECT_EQ(ErrorOf("*" + endless), "Protocol error: too big mbulk count string");
  EXPECT_EQ(ErrorOf("*1\r\n$" + endless), "Protocol error: too big bulk count string");
  EXPECT_EQ(ErrorOf(endless.substr(1)), "incomplete");
}

TEST(RespParser, AcceptsTheLargestLengthsWithoutReservingForThem) {
  EXPECT_EQ(ErrorOf("*2147483647\r\n$1\r\na\r\n"), "incomplete");
  EXPECT_EQ(ErrorOf("*1\r\n$536870912\r\n"), "incomplete");
}

}  // namespace
}  // namespace liveexec::demo
