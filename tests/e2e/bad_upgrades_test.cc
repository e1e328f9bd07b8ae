// Upgrades to bad programs, under load: no request fails, the process stays, and the operator gets
// one sentence.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/e2e/demo_server_test.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/clients.h"
#include "tests/harness/random.h"
#include "tests/harness/snapshot.h"

namespace liveexec::e2e {
namespace {

using harness::ClientSwarm;
using harness::CommandResult;
using harness::Protocol;
using harness::RunSeed;
using ::testing::HasSubstr;
using ::testing::Not;

struct BadProgram {
  friend void PrintTo(const BadProgram& program, std::ostream* out) { *out << program.name; }

  const char* name;
  const char* outcome;
  const char* code;
  const char* words;   // in the answer
  const char* advice;  // in it, too
  const char* source;  // the program that is copied
  const char* file;    // the copy's name, which says what it does wrong
};

constexpr char kBad[] = "tests/e2e/bad/bad_server";

constexpr char kCorrect[] = "correct it before it is tried again";

const BadProgram kBadPrograms[] = {
    {"SegfaultsInTheRehearsal", "abandoned", "E_REHEARSAL", "SIGSEGV", kCorrect, kBad,
     "segv-rehearsal"},
    {"SegfaultsWhenItTakesOver", "rolled back", "E_CRASH", "SIGSEGV at address 0x10 in main",
     kCorrect, kBad, "segv-upgrade"},
    {"ThrowsInTheRehearsal", "abandoned", "E_REHEARSAL", "thrown in main", kCorrect, kBad,
     "throw-rehearsal"},
    {"ThrowsWhenItTakesOver", "rolled back", "E_CRASH", "thrown in main", kCorrect, kBad,
     "throw-upgrade"},
    {"OverflowsTheStackInTheRehearsal", "abandoned", "E_REHEARSAL", "SIGSEGV", kCorrect, kBad,
     "stack-rehearsal"},
    {"OverflowsTheStackWhenItTakesOver", "rolled back", "E_CRASH", "OverflowStack", kCorrect, kBad,
     "stack-upgrade"},
    {"HangsInTheRehearsal", "abandoned", "E_REHEARSAL", "longer than its deadline", kCorrect, kBad,
     "hang-rehearsal"},
    {"HangsWhenItTakesOver", "rolled back", "E_TIMEOUT", "in time", "raise rehydrate_deadline",
     kBad, "hang-upgrade"},
    {"ExitsInTheRehearsal", "abandoned", "E_REHEARSAL", "without a verdict", kCorrect, kBad,
     "exit-rehearsal"},
    {"ExitsWhenItTakesOver", "rolled back", "E_EXIT", "exit", kCorrect, kBad, "exit-upgrade"},
    {"LacksALibrary", "abandoned", "E_REHEARSAL", "libm.so.9", kCorrect, kBad, "library"},
    {"RefusesTheSchema", "abandoned", "E_SCHEMA", "keyspace", "upgrade to a version in between",
     "tests/e2e/bad/incompatible_server", "incompatible"},
    {"IsAnotherApplication", "abandoned", "E_APP", "not demo-server",
     "give the path of the right program", "examples/echo", "another"},
};

void ReplaceInFile(const std::string& path, const std::string& from, const std::string& to) {
  ASSERT_EQ(from.size(), to.size());
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  std::string bytes = text.str();
  size_t found = 0;
  for (size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; at += to.size(), ++found) {
    bytes.replace(at, to.size(), to);
  }
  ASSERT_GT(found, 0u) << "nothing to replace";
  std::ofstream(path, std::ios::binary) << bytes;
}

class BadUpgradesTest : public DemoServerTest, public ::testing::WithParamInterface<BadProgram> {};

TEST_P(BadUpgradesTest, HurtNoRequestAndAreAnsweredInOneSentence) {
  const BadProgram& bad = GetParam();
  DemoServer& server = Start({.threads = 2});
  const std::string candidate = server.process().File(bad.file);
  std::filesystem::copy_file(std::filesystem::canonical(bad.source), candidate);
  ASSERT_EQ(chmod(candidate.c_str(), 0755), 0);
  if (bad.file == std::string("library")) {
    ASSERT_NO_FATAL_FAILURE(ReplaceInFile(candidate, "libm.so.6", "libm.so.9"));
  }
  ClientSwarm swarm(server.endpoint(), Protocol::kResp, RunSeed());
  ASSERT_THAT(swarm.AddIdle(50), IsOk());
  ASSERT_THAT(swarm.AddChecking(8), IsOk());
  swarm.Start();
  ASSERT_THAT(swarm.AwaitReplies(20), IsOk());
  const pid_t pid = server.process().pid();

  const CommandResult result = server.Liveexec("upgrade", {"--json", "--binary", candidate});
  EXPECT_NE(result.exit.code, 0);
  const auto answer = nlohmann::json::parse(result.output, nullptr, false);
  ASSERT_TRUE(answer.is_object()) << result.output << result.errors;
  EXPECT_EQ(answer.value("outcome", ""), bad.outcome) << result.output;
  EXPECT_EQ(answer.value("code", ""), bad.code) << result.output;
  const std::string message = answer.value("message", "");
  EXPECT_THAT(message, HasSubstr(bad.words));
  // One sentence, which says what to do.
  EXPECT_THAT(message, Not(HasSubstr("\n")));
  EXPECT_THAT(message, Not(HasSubstr(". ")));
  EXPECT_THAT(message, HasSubstr(bad.advice));

  // The same process serves, with every connection; and goes on to be upgraded.
  EXPECT_TRUE(server.process().running());
  ASSERT_THAT(swarm.AwaitReplies(20), IsOk());
  ASSERT_THAT(swarm.ProveIdleAlive(), IsOk());
  server.UpgradeTo(Version::kV2);
  EXPECT_EQ(server.process().pid(), pid);
  ASSERT_THAT(swarm.AwaitReplies(20), IsOk());
  EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
}

INSTANTIATE_TEST_SUITE_P(Program, BadUpgradesTest, ::testing::ValuesIn(kBadPrograms),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace liveexec::e2e
