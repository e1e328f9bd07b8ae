// All kinds of sockets at once, over upgrades: what a server with every ready-made component keeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/harness/client_swarm.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/random.h"
#include "tests/harness/testing.h"
#include "tests/harness/udp_client.h"
#include "tests/harness/upgrade_means.h"
#include "tests/harness/upgrade_timeline.h"

namespace liveexec::compat {
namespace {

using harness::ClientSwarm;
using harness::Endpoint;
using harness::IsOk;
using harness::Must;
using harness::Protocol;
using harness::Random;
using harness::RunSeed;
using harness::SawNoUpgrade;
using harness::ServerUnderTest;
using harness::UdpClient;
using harness::UpgradeMeans;

class EveryComponentTest : public harness::ServerTest {};

TEST_F(EveryComponentTest, LosesNoDatagramAndNoByteOfAnySocketOverUpgrades) {
  ServerUnderTest& server =
      StartServer({.command = {"tests/compat/every_component", "{dir}/run/control", "{dir}"},
                   .ready_line = "listening on tcp .*:([0-9]+) udp .*:([0-9]+)$"});
  const auto ports = Must(server.WaitForLine("tcp .*:([0-9]+) udp .*:([0-9]+)$"));
  ClientSwarm tcp(Endpoint::Tcp(server.port()), Protocol::kEcho, RunSeed());
  ClientSwarm local(Endpoint::Unix(server.File("socket")), Protocol::kEcho, RunSeed() + 1);
  ClientSwarm udp(Endpoint::Udp(std::stoi(ports[2])), Protocol::kEcho, RunSeed() + 2);
  for (ClientSwarm* swarm : {&tcp, &local}) {
    ASSERT_THAT(swarm->AddIdle(20), IsOk());
    ASSERT_THAT(swarm->AddChecking(4), IsOk());
  }
  Random random(RunSeed());
  std::vector<UdpClient*> senders;
  for (int i = 0; i < 8; ++i) {
    senders.push_back(Must(udp.Add<UdpClient>({}, "udp client " + std::to_string(i), random.Fork(i),
                                              harness::UdpOptions{})));
  }
  for (ClientSwarm* swarm : {&tcp, &local, &udp}) swarm->Start();
  harness::UpgradeTimeline timeline;
  const UpgradeMeans means = UpgradeMeans::Liveexec("handoff/cli/liveexec");
  for (int i = 0; i < 4; ++i) {
    timeline.Begin();
    ASSERT_THAT(server.UpgradeTo("", means), IsOk());
    timeline.End();
    ASSERT_THAT(tcp.AwaitReplies(5), IsOk());
    ASSERT_THAT(local.AwaitReplies(5), IsOk());
    uint64_t goal = 0;
    udp.Call([&] { goal = senders[0]->replies() + 5; });
    EXPECT_TRUE(udp.WaitFor([&] { return senders[0]->broken() || senders[0]->replies() >= goal; }));
  }
  for (ClientSwarm* swarm : {&tcp, &local, &udp}) {
    auto report = swarm->Finish();
    report.AttributeTo(timeline);
    EXPECT_THAT(report, SawNoUpgrade());
  }
}

}  // namespace
}  // namespace liveexec::compat
