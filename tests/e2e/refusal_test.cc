// An upgrade that is refused, or fails before exec, hurts nobody: the old program goes on.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "absl/strings/str_cat.h"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/child_process.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/clients.h"
#include "tests/harness/random.h"
#include "tests/harness/snapshot.h"

namespace liveexec::e2e {
namespace {

using harness::ClientSwarm;
using harness::CommandResult;
using harness::Differences;
using harness::Protocol;
using harness::RunSeed;
using harness::Snapshot;
using harness::TakeSnapshot;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A candidate that must be refused: how it is made, and the code that the answer must have.
struct BadCandidate {
  friend void PrintTo(const BadCandidate& candidate, std::ostream* out) { *out << candidate.name; }

  const char* name;
  std::vector<const char*> codes;
  std::function<void(const std::string& path)> make;
};

void Write(const std::string& path, const std::string& content, mode_t mode = 0755) {
  std::ofstream(path) << content;
  chmod(path.c_str(), mode);
}

void CopyOfServer(const std::string& path, mode_t mode = 0755) {
  std::filesystem::copy_file(BinaryOf(Version::kV2), path);
  chmod(path.c_str(), mode);
}

const BadCandidate kBadCandidates[] = {
    {"Missing", {"E_NOENT"}, [](const std::string&) {}},
    {"NotExecutable", {"E_ACCES"}, [](const std::string& path) { CopyOfServer(path, 0644); }},
    {"ADirectory",
     {"E_ACCES", "E_NOEXEC", "E_ELF"},
     [](const std::string& path) { mkdir(path.c_str(), 0755); }},
    {"Empty", {"E_ELF"}, [](const std::string& path) { Write(path, ""); }},
    {"AScript", {"E_SCRIPT"}, [](const std::string& path) { Write(path, "#!/bin/sh\nexit 0\n"); }},
    {"Truncated",
     {"E_ELF"},
     [](const std::string& path) {
       CopyOfServer(path);
       std::filesystem::resize_file(path, 300);
     }},
    {"WrongArchitecture",
     {"E_NOEXEC"},
     [](const std::string& path) {
       CopyOfServer(path);
       std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
       file.seekp(18);  // e_machine
       file.put('\x28').put('\0');
     }},
    {"WorldWritable", {"E_UNSAFE"}, [](const std::string& path) { CopyOfServer(path, 0777); }},
    {"SetUserId", {"E_PRIV"}, [](const std::string& path) { CopyOfServer(path, 04755); }},
    {"AnotherApplication",
     {"E_APP"},
     [](const std::string& path) { std::filesystem::copy_file("/bin/true", path); }},
};

class RefusalTest : public DemoServerTest, public ::testing::WithParamInterface<BadCandidate> {};

TEST_P(RefusalTest, IsRefusedByNameAndTheServerIsUnhurt) {
  DemoServer& server = Start({.threads = 2});
  ClientSwarm swarm(server.endpoint(), Protocol::kResp, RunSeed());
  ASSERT_THAT(swarm.AddIdle(20), IsOk());
  ASSERT_THAT(swarm.AddChecking(4), IsOk());
  swarm.Start();
  ASSERT_THAT(swarm.AwaitReplies(20), IsOk());
  const Snapshot before = Must(TakeSnapshot(server.process().pid()));
  const std::string candidate = server.process().File("candidate");
  GetParam().make(candidate);
  const CommandResult result = server.Liveexec("upgrade", {"--binary", candidate});
  EXPECT_NE(result.exit.code, 0);
  std::vector<::testing::Matcher<std::string>> codes;
  for (const char* code : GetParam().codes) codes.push_back(HasSubstr(code));
  EXPECT_THAT(result.output + result.errors, ::testing::AnyOfArray(codes));
  ASSERT_THAT(swarm.AwaitReplies(20), IsOk());
  EXPECT_THAT(Differences(before, Must(TakeSnapshot(server.process().pid())), {.executable = true}),
              IsEmpty());
  // And the next upgrade succeeds.
  server.UpgradeTo(Version::kV2);
  EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
}

INSTANTIATE_TEST_SUITE_P(Candidate, RefusalTest, ::testing::ValuesIn(kBadCandidates),
                         [](const auto& instance) { return std::string(instance.param.name); });

using SecondUpgradeTest = DemoServerTest;

TEST_F(SecondUpgradeTest, ASecondUpgradeAtTheSameTimeIsRefusedAndTheFirstIsNot) {
  DemoServer& server = Start();
  std::vector<std::unique_ptr<harness::ChildProcess>> requests;
  constexpr int kRequests = 8;
  for (int i = 0; i < kRequests; ++i) {
    requests.push_back(Must(harness::ChildProcess::Start(
        {.command = server.LiveexecCommand("upgrade", {"--binary", BinaryOf(Version::kV2)})})));
  }
  int committed = 0;
  for (const auto& request : requests) {
    // One definite answer each.
    if (Must(request->WaitForExit(harness::kPatience)).ok()) ++committed;
  }
  EXPECT_GE(committed, 1);
  server.AwaitGeneration(committed);
  EXPECT_EQ(server.Client()->Call({"PING"}), "PONG");
}

}  // namespace
}  // namespace liveexec::e2e
