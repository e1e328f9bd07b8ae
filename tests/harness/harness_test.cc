// The harness against servers with known faults: each must be caught and named, and the good ones
// must pass.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/unique_fd.h"
#include "tests/harness/child_process.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/clients.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/random.h"
#include "tests/harness/resp.h"
#include "tests/harness/resp_client.h"
#include "tests/harness/server_under_test.h"
#include "tests/harness/snapshot.h"
#include "tests/harness/testing.h"
#include "tests/harness/upgrade_means.h"
#include "tests/harness/upgrade_timeline.h"

namespace liveexec::harness {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const char kFaultyPeer[] = "tests/harness/testing/faulty_peer";
const char kListening[] = "listening on tcp .*:([0-9]+)$";

class HarnessTest : public ServerTest {
 protected:
  ServerUnderTest& StartPeer(const std::string& fault, uint64_t position,
                             const std::string& upstream = "") {
    ServerOptions options = {.command = {kFaultyPeer, fault, absl::StrCat(position)},
                             .ready_line = kListening};
    if (!upstream.empty()) options.command.push_back(upstream);
    return StartServer(options);
  }

  ServerUnderTest& StartRedis() {
    return StartServer(
        {.command = {"/usr/bin/redis-server", "--port", "0", "--unixsocket", "{dir}/redis",
                     "--save", "", "--appendonly", "no", "--dir", "{dir}"},
         .ready_unix = "{dir}/redis"});
  }

  // Runs a small load until every client has had some replies, or something is wrong.
  static SwarmReport Load(const Endpoint& endpoint, Protocol protocol, uint64_t replies = 300) {
    ClientSwarm swarm(endpoint, protocol, RunSeed());
    EXPECT_THAT(swarm.AddIdle(50), IsOk());
    EXPECT_THAT(swarm.AddChecking(4), IsOk());
    swarm.Start();
    const absl::Status idle = swarm.ProveIdleAlive(absl::Seconds(5));
    const absl::Status busy = swarm.AwaitReplies(replies, absl::Seconds(5));
    SwarmReport report = swarm.Finish(absl::Seconds(2));
    EXPECT_EQ(report.ok(), idle.ok() && busy.ok()) << idle << busy << report.ToString();
    return report;
  }

  SwarmReport LoadFaultyEcho(const std::string& fault) {
    ServerUnderTest& peer = StartPeer(fault, 5000);
    return Load(Endpoint::Tcp(peer.port()), Protocol::kEcho);
  }
};

TEST_F(HarnessTest, FindsNothingWrongWithAGoodEchoServer) {
  EXPECT_THAT(LoadFaultyEcho("none"), SawNoUpgrade());
}

TEST_F(HarnessTest, CatchesALostByte) {
  const SwarmReport report = LoadFaultyEcho("drop");
  EXPECT_GE(report.bytes_lost, 1u);  // and what was still outstanding when it was found
  EXPECT_EQ(report.bytes_doubled, 0u);
  ASSERT_FALSE(report.problems.empty());
  EXPECT_THAT(
      report.problems[0],
      ContainsRegex("checking client [0-9]+ .127.0.0.1:[0-9]+.*at byte 500.: 1 bytes are missing"));
}

TEST_F(HarnessTest, CatchesADoubledByte) {
  const SwarmReport report = LoadFaultyEcho("double");
  EXPECT_EQ(report.bytes_doubled + report.bytes_foreign, 1u);
  ASSERT_FALSE(report.problems.empty());
  EXPECT_THAT(
      report.problems[0],
      ContainsRegex("at byte 500.: (1 bytes that nobody sent|the stream goes on from byte 500.)"));
}

TEST_F(HarnessTest, CatchesAnAlteredByte) {
  const SwarmReport report = LoadFaultyEcho("alter");
  EXPECT_GE(report.bytes_lost, 1u);
  EXPECT_EQ(report.bytes_foreign, 1u);
}

TEST_F(HarnessTest, CatchesReorderedBytes) {
  const SwarmReport report = LoadFaultyEcho("swap");
  EXPECT_EQ(report.bytes_doubled, 50u);  // counted with the doubled ones
  ASSERT_FALSE(report.problems.empty());
  EXPECT_THAT(report.problems[0], HasSubstr("50 out of order"));
}

TEST_F(HarnessTest, CatchesAClosedConnection) {
  const SwarmReport report = LoadFaultyEcho("close");
  EXPECT_EQ(report.connections_kept, report.clients - 1);
  ASSERT_FALSE(report.problems.empty());
  EXPECT_THAT(report.problems[0],
              ContainsRegex("closed the connection at byte 5000 of its replies"));
}

TEST_F(HarnessTest, FindsNothingWrongWithRedis) {
  ServerUnderTest& redis = StartRedis();
  EXPECT_THAT(Load(Endpoint::Unix(redis.File("redis")), Protocol::kResp, 2000), SawNoUpgrade());
}

TEST_F(HarnessTest, CatchesEveryFaultBetweenRedisAndItsClients) {
  ServerUnderTest& redis = StartRedis();
  for (const char* fault : {"drop", "double", "alter", "swap", "close", "insert"}) {
    ServerUnderTest& peer = StartPeer(fault, 4321, redis.File("redis"));
    const SwarmReport report = Load(Endpoint::Tcp(peer.port()), Protocol::kResp);
    EXPECT_FALSE(report.ok()) << fault << " was not noticed";
    EXPECT_GE(report.failed_requests, 1u) << fault;
    EXPECT_THAT(report.ToString(),
                ContainsRegex("checking client [0-9]+ .127.0.0.1:[0-9]+.*byte 43"))
        << fault;
  }
}

TEST_F(HarnessTest, AGoodRelayIsNotAccused) {
  ServerUnderTest& redis = StartRedis();
  ServerUnderTest& peer = StartPeer("none", 0, redis.File("redis"));
  EXPECT_THAT(Load(Endpoint::Tcp(peer.port()), Protocol::kResp), SawNoUpgrade());
}

TEST_F(HarnessTest, ReportsIdleClientsThatDie) {
  ServerUnderTest& peer = StartPeer("none", 0);
  ClientSwarm swarm(Endpoint::Tcp(peer.port()), Protocol::kEcho, RunSeed());
  ASSERT_THAT(swarm.AddIdle(3), IsOk());
  swarm.Start();
  ASSERT_THAT(swarm.ProveIdleAlive(), IsOk());
  ASSERT_THAT(peer.Stop(SIGKILL), IsOk());
  const absl::Status dead = swarm.ProveIdleAlive();
  EXPECT_THAT(std::string(dead.message()),
              ContainsRegex("^3 idle clients are dead or silent: 0 .127.0.0.1"));
  EXPECT_EQ(swarm.Finish().connections_kept, 0u);
}

TEST_F(HarnessTest, TheSlowReaderChecksALongReplyToItsEnd) {
  ServerUnderTest& redis = StartRedis();
  constexpr uint64_t kSize = 3 << 20;
  auto setter = Must(RespClient::Open(Endpoint::Unix(redis.File("redis"))));
  ASSERT_EQ(setter->Call({"SET", "large", PositionCodedBytes(5, 0, kSize)}), "OK");
  for (const uint64_t seed : {5, 6}) {  // 6 is not what the server has
    ClientSwarm swarm(Endpoint::Unix(redis.File("redis")), Protocol::kResp, RunSeed());
    SlowReader* reader = Must(swarm.Add<SlowReader>(
        SlowReader::Dialing(), "slow reader", RespCommand({"GET", "large"}),
        SlowReader::Reply{absl::StrCat("$", kSize, "\r\n"), seed, kSize, "\r\n"},
        uint64_t{100} << 20));
    swarm.Start();
    swarm.WaitFor([&] { return reader->finished() || reader->broken(); });
    const SwarmReport report = swarm.Finish();
    EXPECT_EQ(report.ok(), seed == 5) << report.ToString();
  }
}

TEST_F(HarnessTest, TheSubscriberNoticesAMissingMessage) {
  ServerUnderTest& redis = StartRedis();
  const Endpoint endpoint = Endpoint::Unix(redis.File("redis"));
  ClientSwarm swarm(endpoint, Protocol::kResp, RunSeed());
  Subscriber* subscriber =
      Must(swarm.Add<Subscriber>({}, "subscriber", std::vector<std::string>{"news", "weather"}));
  swarm.Start();
  ASSERT_TRUE(swarm.WaitFor([&] { return subscriber->subscribed() == 2; }));
  auto publisher = Must(RespClient::Open(endpoint));
  for (const char* number : {"1", "2", "4"})
    ASSERT_EQ(publisher->Call({"PUBLISH", "news", number}), "1");
  ASSERT_TRUE(swarm.WaitFor([&] { return subscriber->received("news") == 4; }));
  EXPECT_THAT(swarm.Finish().ToString(),
              HasSubstr("channel news: message '4' came instead of '3'"));
}

TEST_F(HarnessTest, MeasuresTheGapThatAStoppedServerMakes) {
  ServerUnderTest& peer = StartPeer("none", 0);
  ClientSwarm swarm(Endpoint::Tcp(peer.port()), Protocol::kEcho, RunSeed());
  ASSERT_THAT(swarm.AddChecking(2), IsOk());
  swarm.Start();
  ASSERT_THAT(swarm.AwaitReplies(10), IsOk());
  swarm.OpenWindow();
  ASSERT_THAT(peer.Signal(SIGSTOP), IsOk());
  usleep(50'000);  // the length of the pause is what is being measured, not waited for
  ASSERT_THAT(peer.Signal(SIGCONT), IsOk());
  for (const int64_t gap_ns : swarm.CloseWindow()) EXPECT_GE(gap_ns, 49'000'000);
  EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
}

TEST_F(HarnessTest, ASnapshotShowsWhatHasChanged) {
  const Snapshot before = Must(TakeSnapshot(getpid()));
  EXPECT_THAT(Differences(before, Must(TakeSnapshot(getpid()))), IsEmpty());
  ServerUnderTest& peer = StartPeer("none", 0);
  const UniqueFd connection = Must(Dial(Endpoint::Tcp(peer.port())));
  const std::string differences =
      absl::StrJoin(Differences(before, Must(TakeSnapshot(getpid()))), "\n");
  EXPECT_THAT(differences,
              ContainsRegex("fds: . tcp 127.0.0.1:[0-9]+ to 127.0.0.1:[0-9]+ flags 02"));
  EXPECT_THAT(differences, ContainsRegex("child: . [0-9]+ faulty_peer"));
  EXPECT_THAT(differences, HasSubstr("fds: + inotify flags"));
}

TEST_F(HarnessTest, ASnapshotNamesListenersAndFiles) {
  ServerUnderTest& redis = StartRedis();
  const Snapshot snapshot = Must(TakeSnapshot(redis.pid()));
  EXPECT_EQ(snapshot.comm, "redis-server");
  EXPECT_EQ(snapshot.group, redis.pid());
  bool listener = false;
  for (const FdInfo& fd : snapshot.fds) listener |= fd.target == redis.File("redis") + " listening";
  EXPECT_TRUE(listener);
  EXPECT_GE(snapshot.FdCounts().at("file"), 2);  // the log, twice
  EXPECT_GT(snapshot.resident_bytes, 1 << 20);
  EXPECT_EQ(snapshot.limits.count("Max open files"), 1u);
}

TEST_F(HarnessTest, AServerThatDoesNotStartIsReportedWithItsOutput) {
  const auto server = ServerUnderTest::Start(
      {.command = {"/bin/sh", "-c", "echo cannot open the thing; exit 3"}, .ready_line = "ready"});
  ASSERT_FALSE(server.ok());
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("cannot open the thing"));
}

TEST_F(HarnessTest, WaitsForALineThatCameAfterTheMark) {
  ServerUnderTest& shell =
      StartServer({.command = {"/bin/sh", "-c",
                               "trap 'n=$((n+1)); echo generation=$n' HUP; n=0; echo ready; "
                               "while :; do sleep 1000 & wait; done"},
                   .ready_line = "^ready$"});
  for (int generation = 1; generation <= 3; ++generation) {
    const auto line = Must(shell.UpgradeBySignal(SIGHUP, "^generation=([0-9]+)$"));
    EXPECT_EQ(line[1], absl::StrCat(generation));
  }
  EXPECT_EQ(Must(shell.Stop()).signal, SIGTERM);
}

TEST_F(HarnessTest, UpgradesToAGivenBinaryByAnyMeans) {
  ServerUnderTest& shell = StartServer(
      {.command = {"/bin/sh", "-c",
                   "cd {dir}; trap 'echo serves $(cat program)' HUP; echo one >program; "
                   "echo ready; while :; do sleep 1000 & wait; done"},
       .ready_line = "^ready$"});
  const std::string two = shell.File("two");
  std::ofstream(two) << "two";
  EXPECT_THAT(shell.UpgradeTo(two, UpgradeMeans::Signal(SIGHUP, "^serves two$",
                                                        /*install_as=*/"{dir}/program")),
              IsOk());
  const std::string three = shell.File("three");
  std::ofstream(three) << "three";
  EXPECT_THAT(shell.UpgradeTo(
                  three, UpgradeMeans::Command(
                             {"/bin/sh", "-c", "cp $0 {dir}/program; kill -HUP {pid}", "{binary}"},
                             "^serves three$")),
              IsOk());
  const auto api = [&](ServerUnderTest& server, const std::string& binary) {
    LIVEEXEC_RETURN_IF_ERROR(server.Install(binary, "{dir}/program"));
    return server.Signal(SIGHUP);
  };
  EXPECT_THAT(shell.UpgradeTo(two, UpgradeMeans::Call(api, "^serves two$")), IsOk());
  const absl::Status refused =
      shell.UpgradeTo("", UpgradeMeans::Command({"/bin/sh", "-c", "echo not today >&2; exit 3"}));
  EXPECT_TRUE(absl::IsAborted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("not today"));
}

TEST_F(HarnessTest, SaysInWhichUpgradeAndToWhichBinaryAClientLostItsConnection) {
  ServerUnderTest& peer = StartPeer("none", 0);
  ClientSwarm swarm(Endpoint::Tcp(peer.port()), Protocol::kEcho, RunSeed());
  ASSERT_THAT(swarm.AddChecking(1), IsOk());
  swarm.Start();
  ASSERT_THAT(swarm.AwaitReplies(10), IsOk());
  UpgradeTimeline timeline;
  timeline.Begin("/srv/bin/one");
  timeline.End();
  timeline.Begin("/srv/bin/two");
  ASSERT_THAT(peer.Stop(SIGKILL), IsOk());
  EXPECT_FALSE(swarm.AwaitReplies(1).ok());
  SwarmReport report = swarm.Finish();
  timeline.End();
  report.AttributeTo(timeline);
  EXPECT_THAT(report.ToString(),
              ContainsRegex("connection-lost: checking client 0 .127.0.0.1:[0-9]+., upgrade 2 to "
                            "/srv/bin/two, asked for: the server closed the connection at byte"));
}

TEST_F(HarnessTest, HoldsThousandsOfConnectionsOnOneThread) {
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;  // for the server as well, which inherits it
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  ServerUnderTest& redis = StartRedis();
  ClientSwarm swarm(Endpoint::Unix(redis.File("redis")), Protocol::kResp, RunSeed());
  ASSERT_THAT(swarm.AddIdle(2000), IsOk());
  swarm.Start();
  EXPECT_THAT(swarm.ProveIdleAlive(), IsOk());
  EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
}

TEST_F(HarnessTest, ACommandsOutputErrorsAndExitAreCollected) {
  const CommandResult result =
      Must(RunCommand({"/bin/sh", "-c", "echo out; echo err >&2; exit 7"}, kPatience));
  EXPECT_EQ(result.output, "out\n");
  EXPECT_EQ(result.errors, "err\n");
  EXPECT_EQ(result.exit.code, 7);
  EXPECT_FALSE(RunCommand({"/bin/sleep", "1000"}, absl::Milliseconds(50)).ok());
}

// The servers of a test program that is killed must not live on.
TEST_F(HarnessTest, NoServerOutlivesAKilledTestProgram) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // inherited by the server alone: EOF when it is gone
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t program = fork();
  if (program == 0) {
    // The pipe's writing end stays open in the server only.
    auto server = ChildProcess::Start(
        {.command = {"/bin/sleep", "1000"}, .standard_output = write_end.get()});
    kill(getpid(), SIGKILL);
    _exit(1);
  }
  write_end.reset();
  char byte = 0;
  EXPECT_EQ(read(read_end.get(), &byte, 1), 0);
  while (waitpid(program, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace
}  // namespace liveexec::harness
