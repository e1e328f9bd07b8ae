// Whole runs of the command: with several binaries, faults, and each kind of socket; and what they
// leave behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <wordexp.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/harness/random.h"
#include "tests/harness/temp_dir.h"
#include "tests/harness/torture/command_line.h"
#include "tests/harness/torture/report.h"
#include "tests/harness/torture/torture_run.h"

namespace liveexec::harness {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Silent final : public TortureObserver {
  void OnStep(const std::string&) override {}
  void OnUpgrade(const UpgradeOutcome&) override {}
};

// As the shell and the command take it.
TortureOptions Parse(const std::string& command_line) {
  wordexp_t words{};
  EXPECT_EQ(wordexp(command_line.c_str(), &words, WRDE_NOCMD | WRDE_UNDEF), 0) << command_line;
  const ParsedTorture parsed = ParseTorture(static_cast<int>(words.we_wordc), words.we_wordv);
  EXPECT_FALSE(parsed.exit_code.has_value()) << command_line;
  wordfree(&words);
  return parsed.options;
}

TortureResult RunTorture(const std::string& arguments) {
  Silent silent;
  const TortureOptions options =
      Parse(absl::StrCat("torture --liveexec handoff/cli/liveexec --upgrade liveexec --clients 4 "
                         "--idle 6 --seed ",
                         RunSeed(), " ", arguments));
  auto result = TortureRun(options, silent).Run();
  if (!result.ok()) {
    ADD_FAILURE() << result.status();
    return {};
  }
  for (const Anomaly& anomaly : result->anomalies) ADD_FAILURE() << anomaly.ToString();
  return *std::move(result);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(TortureTest, UpgradesEachBinaryToEachUnderFaultsAndReportsIt) {
  const TortureResult result = RunTorture(
      "--server '{binary} --port {port} --control {dir}/run/control' --protocol resp --upgrades 4 "
      "--binaries demo-server/demo-server,demo-server/demo-server-v2 "
      "--faults twice:2,resets@executing,stop@+3,bad-binary:3,cut-binary:3");
  ASSERT_EQ(result.upgrades.size(), 4u);
  EXPECT_EQ(result.upgrades[1].faults.size(), 3u);
  EXPECT_EQ(result.upgrades[0].from, "demo-server/demo-server");

  const TempDir directory;
  ASSERT_TRUE(WriteReports(result, directory.path()).ok());
  const auto json = nlohmann::json::parse(ReadFile(directory.File("report.json")), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["verdict"], "invisible");
  EXPECT_EQ(json["upgrades"].size(), 4u);
  EXPECT_FALSE(json["upgrades"][0]["phases"].empty());
  const std::string html = ReadFile(directory.File("report.html"));
  EXPECT_THAT(html, HasSubstr("The upgrades were invisible"));
  EXPECT_THAT(html, HasSubstr("From each to each"));
  EXPECT_THAT(html, Not(HasSubstr("http")));  // nothing to fetch
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(ReadFile(directory.File("junit.xml")), HasSubstr("failures=\"0\""));
}

TEST(TortureTest, KnowsUnixSocketsAndDatagrams) {
  const std::string server = "--server 'tests/compat/every_component {dir}/run/control {dir}' ";
  EXPECT_TRUE(RunTorture(server + "--unix '{dir}/socket' --protocol echo --upgrades 2").passed());
  EXPECT_TRUE(
      RunTorture(server + "--ready-line 'udp .*:([0-9]+)$' --protocol udp --upgrades 2").passed());
}

TEST(TortureTest, TheCommandThatRepeatsARunIsThatRun) {
  for (const char* arguments :
       {"", "--upgrade sighup --done-line 'ready [0-9]+' --pid-file '{dir}/pid' --settle 700",
        "--binaries a,b --install-as '{dir}/bin/server' --upgrade 'kill -HUP {pid}'",
        "--protocol http --http-path /x --body-varies --allow pid-changed,connection-lost",
        "--protocol udp --ready-line 'it'\"'\"'s port ([0-9]+)' --faults stop@executing:2",
        "--unix '{dir}/s' --max-gap 5 --max-growth 6 --patience 7 --idle 0 --name 'a b'"}) {
    const std::string command =
        CommandLineOf(Parse(absl::StrCat("torture --server 'srv {port}' ", arguments)));
    EXPECT_EQ(CommandLineOf(Parse(command)), command);
    EXPECT_THAT(command, StartsWith("torture --server "));
    EXPECT_THAT(command, HasSubstr(" --seed "));
  }
}

}  // namespace
}  // namespace liveexec::harness
