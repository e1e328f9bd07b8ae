// The examples, upgraded under load. docs/testing.md shows this file as what the author of a server
// writes.
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/random.h"
#include "tests/harness/server_under_test.h"
#include "tests/harness/snapshot.h"
#include "tests/harness/testing.h"

namespace liveexec::harness {
namespace {

using ::testing::ContainerEq;

class ExamplesTest : public ServerTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(ExamplesTest, KeepTheirConnectionsAndEveryByteOverUpgrades) {
  ServerUnderTest& server =
      StartServer({.command = {absl::StrCat("examples/", GetParam()), "0", "{dir}/run/control"},
                   .ready_line = "listening on tcp .*:([0-9]+)$"});
  auto upgrade = [&] {
    const CommandResult result = Must(server.UpgradeByCommand(
        {"handoff/cli/liveexec", "upgrade", "--control", server.File("run/control")}));
    EXPECT_EQ(result.exit.code, 0) << result.output << result.errors;
  };
  upgrade();  // From here on it has a program to go back to, whose fd it holds.
  const Snapshot before = Must(TakeSnapshot(server.pid()));

  ClientSwarm swarm(Endpoint::Tcp(server.port()), Protocol::kEcho, RunSeed());
  ASSERT_THAT(swarm.AddIdle(100), IsOk());
  ASSERT_THAT(swarm.AddChecking(8), IsOk());
  swarm.Start();
  for (int i = 0; i < 5; ++i) {
    ASSERT_THAT(swarm.AwaitReplies(20), IsOk());
    upgrade();
  }
  EXPECT_THAT(swarm.ProveIdleAlive(), IsOk());

  // The same process, and nothing has piled up in it.
  const Snapshot after = Must(TakeSnapshot(server.pid()));
  auto expected = before.FdCounts();
  expected["tcp"] += 108;
  EXPECT_THAT(after.FdCounts(), ContainerEq(expected));
  EXPECT_EQ(after.comm, before.comm);
  EXPECT_THAT(after.limits, ContainerEq(before.limits));
  EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
}

INSTANTIATE_TEST_SUITE_P(Examples, ExamplesTest, ::testing::Values("echo", "raw_echo"),
                         [](const auto& example) { return std::string(example.param); });

}  // namespace
}  // namespace liveexec::harness
