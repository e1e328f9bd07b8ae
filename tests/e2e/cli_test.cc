// The `liveexec` command against a real server.
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/child_process.h"

namespace liveexec::e2e {
namespace {

using harness::CommandResult;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class CliTest : public DemoServerTest {
 protected:
  static json Parsed(const CommandResult& result) {
    json parsed = json::parse(result.output, nullptr, false);
    EXPECT_FALSE(parsed.is_discarded()) << result.output << result.errors;
    return parsed;
  }
};

TEST_F(CliTest, UpgradeAnswersWithTheWholeJournalEntryAsJson) {
  DemoServer& server = Start();
  const CommandResult result =
      server.Liveexec("upgrade", {"--binary", BinaryOf(Version::kV2), "--json"});
  EXPECT_EQ(result.exit.code, 0) << result.errors;
  const json entry = Parsed(result);
  EXPECT_EQ(entry["upgrade"], 1);
  EXPECT_EQ(entry["outcome"], "committed");
  EXPECT_EQ(entry["code"], "");
  EXPECT_EQ(entry["trigger"], "control");
  EXPECT_EQ(entry["binary"], BinaryOf(Version::kV2));
  EXPECT_NE(entry["from_version"], entry["to_version"]);
  EXPECT_EQ(entry["pid"], server.process().pid());
  EXPECT_GT(entry["blackout_ms"], 0.0);
  EXPECT_GT(entry["fds"], 1);
  // The event loop's own fds are made anew; nothing that a client holds the other end of is left
  // behind.
  EXPECT_THAT(entry["fds_left_behind"].dump(), Not(HasSubstr("socket")));
  EXPECT_THAT(entry["fds_left_behind"].dump(), Not(HasSubstr("tcp")));
  std::vector<std::string> phases;
  for (const json& phase : entry["phases"]) {
    phases.push_back(phase["phase"]);
    EXPECT_GE(phase["duration_ms"], 0.0);
  }
  // DESIGN.md, section 2, in this order.
  EXPECT_THAT(phases, ElementsAre("checking", "rehearsing", "guarding", "quiescing", "exporting",
                                  "sealing", "sending", "executing", "receiving", "verifying",
                                  "rehydrating", "self-checking", "committed"));
}

TEST_F(CliTest, TheDoctorFindsNothingThatAHealthyServerWouldLose) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has a thread of its own, which the doctor finds";
#endif
  for (int threads : {1, 4}) {
    DemoServer& server = Start({.threads = threads});
    server.UpgradeTo(Version::kV2);
    const CommandResult result = server.Liveexec("doctor");
    EXPECT_EQ(result.exit.code, 0) << result.errors;
    EXPECT_THAT(result.output, AllOf(Not(HasSubstr("LOST")), Not(HasSubstr("REFUSE"))));
    // libuv's own.
    EXPECT_THAT(result.output, HasSubstr("both ends are this process's own"));
  }
}

TEST_F(CliTest, UpgradeIsSynchronousTheNewProgramServesWhenItReturns) {
  DemoServer& server = Start();
  for (int generation = 1; generation <= 3; ++generation) {
    EXPECT_EQ(server.Liveexec("upgrade", {"--binary", BinaryOf(Version::kV2)}).exit.code, 0);
    const json status = Parsed(server.Liveexec("status", {"--json"}));
    EXPECT_EQ(status["generation"], generation);
    EXPECT_EQ(status["pid"], server.process().pid());
    EXPECT_EQ(status["upgrading"], false);
    EXPECT_EQ(status["program"]["application"], "demo-server");
    EXPECT_EQ(status["last_result"]["outcome"], "committed");
  }
}

TEST_F(CliTest, UpgradeWithoutABinaryTakesTheServersOwnChoice) {
  DemoServer& server = Start({.version = Version::kV0});
  const json entry = Parsed(server.Liveexec("upgrade", {"--json"}));
  EXPECT_EQ(entry["outcome"], "committed");
  EXPECT_EQ(entry["binary"], BinaryOf(Version::kV1));
}

TEST_F(CliTest, PrintsPlainLinesWhenItIsNotOnATerminal) {
  DemoServer& server = Start();
  const CommandResult result = server.Liveexec("upgrade", {"--binary", BinaryOf(Version::kV2)});
  EXPECT_THAT(result.output, Not(HasSubstr("\033")));
  EXPECT_THAT(result.output, Not(HasSubstr("\r")));
  EXPECT_THAT(result.output, HasSubstr("rehearsing"));
}

TEST_F(CliTest, HistoryIsCarriedOnAndTellsOfFailuresToo) {
  DemoServer& server = Start();
  server.Upgrade(2);
  EXPECT_EQ(server.Liveexec("upgrade", {"--binary", "/nowhere/server"}).exit.code, 10);
  server.Upgrade();
  const json history = Parsed(server.Liveexec("history", {"--json"}))["history"];
  ASSERT_EQ(history.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(history[i]["upgrade"], i + 1);
    EXPECT_EQ(history[i]["outcome"], i == 2 ? "abandoned" : "committed");
  }
  EXPECT_EQ(history[1]["trigger"], "signal");
  EXPECT_EQ(history[2]["code"], "E_NOENT");
  EXPECT_EQ(history[2]["failed_phase"], "checking");
  const json newest = Parsed(server.Liveexec("history", {"--json", "--limit", "1"}))["history"];
  ASSERT_EQ(newest.size(), 1u);
  EXPECT_EQ(newest[0]["upgrade"], 4);
}

TEST_F(CliTest, InspectTellsWhetherABinaryWouldBeAccepted) {
  DemoServer& server = Start();
  const auto inspect = [&](const std::string& binary) {
    return Must(harness::RunCommand(
        {LiveexecBinary(), "inspect", binary, "--control", server.control()}, harness::kPatience));
  };
  const CommandResult good = inspect(BinaryOf(Version::kV2));
  EXPECT_EQ(good.exit.code, 0) << good.output << good.errors;
  EXPECT_THAT(good.output, HasSubstr("demo-server"));
  const CommandResult bad = inspect("/bin/true");
  EXPECT_EQ(bad.exit.code, 2);
  EXPECT_THAT(bad.output + bad.errors, HasSubstr("E_APP"));
}

TEST_F(CliTest, SaysWhenThereIsNoServer) {
  const CommandResult result = Must(harness::RunCommand(
      {LiveexecBinary(), "status", "--control", "/tmp/no-such-socket"}, harness::kPatience));
  EXPECT_EQ(result.exit.code, 2);
  EXPECT_THAT(result.errors, HasSubstr("/tmp/no-such-socket"));
}

}  // namespace
}  // namespace liveexec::e2e
