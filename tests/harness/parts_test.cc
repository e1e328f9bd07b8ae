// The harness's smaller parts, by themselves.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/harness/fault_plan.h"
#include "tests/harness/http.h"
#include "tests/harness/script_client.h"
#include "tests/harness/verdict.h"
#include "tests/harness/version_matrix.h"

namespace liveexec::harness {
namespace {

TEST(VerdictTest, EveryNameLeadsBackToItsVerdict) {
  std::set<std::string> names;
  for (int i = 0; i < kVerdicts; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    EXPECT_EQ(VerdictFromName(VerdictName(verdict)), verdict);
    EXPECT_TRUE(names.insert(std::string(VerdictName(verdict))).second);
    EXPECT_FALSE(VerdictMeaning(verdict).empty());
  }
  EXPECT_FALSE(VerdictFromName("all is well").has_value());
}

TEST(VersionMatrixTest, TakesEachStepFromEachToEachOnceAndEndsWhereItBegan) {
  for (size_t count = 1; count <= 7; ++count) {
    std::set<std::pair<size_t, size_t>> steps;
    size_t here = 0;
    for (const size_t next : EveryPairOnce(count)) {
      EXPECT_TRUE(steps.emplace(here, next).second) << here << " to " << next;
      here = next;
    }
    EXPECT_EQ(steps.size(), count * count);
    EXPECT_EQ(here, 0u);
  }
  EXPECT_TRUE(EveryPairOnce(0).empty());
}

TEST(FaultPlanTest, SaysWhatStrikesWhen) {
  const auto plan = FaultPlan::Parse("twice, resets@before:2,bad-binary:3");
  ASSERT_TRUE(plan.ok()) << plan.status();
  const auto kinds = [&](int number, FaultMoment moment) {
    std::vector<FaultKind> all;
    for (const Fault& fault : plan->At(number, moment)) all.push_back(fault.kind);
    return all;
  };
  EXPECT_EQ(kinds(1, FaultMoment::kDuring), std::vector{FaultKind::kTwice});
  EXPECT_TRUE(kinds(1, FaultMoment::kBefore).empty());
  EXPECT_EQ(kinds(2, FaultMoment::kBefore), std::vector{FaultKind::kResets});
  EXPECT_EQ(kinds(3, FaultMoment::kBefore), std::vector{FaultKind::kBadBinary});
  EXPECT_FALSE(plan->NeedsPhases());
  EXPECT_TRUE(plan->Has(FaultKind::kBadBinary));
  EXPECT_FALSE(plan->Has(FaultKind::kStop));
}

TEST(FaultPlanTest, TakesAimAtATimeOrAPhase) {
  const auto plan = FaultPlan::Parse("stop@+12,resets@executing:2");
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->At(1, FaultMoment::kDuring).size(), 1u);
  EXPECT_EQ(plan->At(1, FaultMoment::kDuring)[0].delay_ms, 12);
  ASSERT_EQ(plan->At(2, FaultMoment::kDuring).size(), 2u);
  EXPECT_EQ(plan->At(2, FaultMoment::kDuring)[1].phase, "executing");
  EXPECT_TRUE(plan->NeedsPhases());
}

TEST(FaultPlanTest, RefusesWhatItDoesNotKnow) {
  EXPECT_TRUE(FaultPlan::Parse("none")->empty());
  EXPECT_TRUE(FaultPlan::Parse("")->empty());
  for (const char* text :
       {"fire", "twice@never", "twice:0", "twice:x", "twice@", "twice@+", "twice@+x"})
    EXPECT_FALSE(FaultPlan::Parse(text).ok()) << text;
}

TEST(HttpParserTest, TakesResponsesApartHoweverTheyAreCut) {
  const std::string bytes =
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
      "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
      "HTTP/1.1 204 No Content\r\n\r\n";
  for (size_t step = 1; step <= bytes.size(); ++step) {
    HttpParser parser;
    std::string seen;
    for (size_t at = 0; at < bytes.size(); at += step) {
      parser.Feed(bytes.substr(at, step));
      while (true) {
        const auto response = parser.Next();
        ASSERT_TRUE(response.ok()) << response.status();
        if (!response->has_value()) break;
        seen += std::to_string((*response)->status) + (*response)->body +
                ((*response)->closes ? "!" : "") + " ";
      }
    }
    EXPECT_EQ(seen, "200hello 404abcde! 204 ") << "step " << step;
    EXPECT_EQ(parser.buffered(), 0u);
  }
}

TEST(HttpParserTest, RefusesWhatIsNotHttp) {
  for (const char* text :
       {"-ERR\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"}) {
    HttpParser parser;
    parser.Feed(text);
    EXPECT_FALSE(parser.Next().ok()) << text;
  }
}

TEST(ScriptTest, MakesRoundsOfLines) {
  const auto script = Script::Parse(
      "# greeting\nsend HELO {n}\\r\\n\nexpect 250 {n}\\r\\n\nthink 5\nsend A\nsend B\nexpect C\n");
  ASSERT_TRUE(script.ok()) << script.status();
  ASSERT_EQ(script->rounds.size(), 2u);
  EXPECT_EQ(script->At(0).request, "HELO 0\r\n");
  EXPECT_EQ(script->At(2).reply, "250 1\r\n");
  EXPECT_EQ(script->At(1).request, "AB");
  EXPECT_EQ(script->rounds[0].think, absl::Milliseconds(5));
}

TEST(ScriptTest, NamesTheLineThatIsWrong) {
  for (const char* text : {"", "expect x", "send x", "send x\nexpect y\nshout z", "think 5"})
    EXPECT_FALSE(Script::Parse(text).ok()) << text;
  EXPECT_NE(Script::Parse("send x\nexpect y\nshout z").status().message().find("line 3"),
            std::string::npos);
}

}  // namespace
}  // namespace liveexec::harness
