// Under load, from clients of our own and from Redis's own tools, no client can tell.
#include <fcntl.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/unique_fd.h"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/child_process.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/clients.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/random.h"
#include "tests/harness/resp.h"
#include "tests/harness/resp_client.h"
#include "tests/harness/temp_dir.h"

namespace liveexec::e2e {
namespace {

using harness::ChildProcess;
using harness::ClientSwarm;
using harness::Endpoint;
using harness::PositionCodedBytes;
using harness::Protocol;
using harness::RespClient;
using harness::RespCommand;
using harness::RunSeed;
using harness::SlowReader;
using harness::Subscriber;
using ::testing::HasSubstr;
using ::testing::Not;

class LoadTest : public DemoServerTest, public ::testing::WithParamInterface<int> {
 protected:
  // Upgrades `times` times under a swarm's load and lets every client check everything.
  static void UpgradeUnderLoad(DemoServer& server, const Endpoint& endpoint, int times) {
    ClientSwarm swarm(endpoint, Protocol::kResp, RunSeed());
    ASSERT_THAT(swarm.AddIdle(200), IsOk());
    ASSERT_THAT(swarm.AddChecking(8), IsOk());
    ASSERT_THAT(swarm.AddChecking(4, {.window = 1, .cut = false}), IsOk());
    ASSERT_THAT(swarm.AddChecking(2, {.window = 200, .max_payload = 5000}), IsOk());
    swarm.Start();
    ASSERT_THAT(swarm.AwaitReplies(50), IsOk());
    for (int i = 0; i < times; ++i) {
      server.Upgrade();
      ASSERT_THAT(swarm.AwaitReplies(50), IsOk());
      ASSERT_THAT(swarm.ProveIdleAlive(), IsOk());
    }
    EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
  }
};

TEST_P(LoadTest, NoByteIsLostOrDoubledOverTcp) {
  DemoServer& server = Start({.threads = GetParam()});
  UpgradeUnderLoad(server, server.endpoint(), 6);
}

TEST_P(LoadTest, NoByteIsLostOrDoubledOverUnixSockets) {
  DemoServer& server =
      Start({.threads = GetParam(), .arguments = {"--unixsocket", "{dir}/socket"}});
  UpgradeUnderLoad(server, Endpoint::Unix(server.process().File("socket")), 6);
}

TEST_P(LoadTest, ConnectionsThatComeAndGoAreNeverRefused) {
  DemoServer& server = Start({.threads = GetParam()});
  std::atomic<bool> stop{false};
  std::atomic<int> served{0};
  std::string failure;
  std::thread churn([&] {
    while (!stop && failure.empty()) {
      auto client = RespClient::Open(server.endpoint());
      const std::string reply =
          client.ok() ? (*client)->Call({"ECHO", "hello"}) : client.status().ToString();
      if (reply != "hello") failure = reply;
      ++served;
    }
  });
  for (int i = 0; i < 8; ++i) {
    const int before = served;
    server.Upgrade();
    while (served < before + 20 && failure.empty() && !stop) std::this_thread::yield();
    if (!server.process().running()) stop = true;
  }
  stop = true;
  churn.join();
  EXPECT_EQ(failure, "");
}

TEST_P(LoadTest, ASlowReaderGetsEveryByteOverThreeUpgrades) {
  DemoServer& server = Start({.threads = GetParam()});
  constexpr uint64_t kSize = uint64_t{64} << 20;
  auto setter = server.Client();
  ASSERT_EQ(setter->Call({"SET", "large", PositionCodedBytes(9, 0, kSize)}), "OK");
  ClientSwarm swarm(server.endpoint(), Protocol::kResp, RunSeed());
  // Read when it is told to: how fast is of no concern, only that upgrades fall into it.
  SlowReader* reader = Must(swarm.Add<SlowReader>(
      SlowReader::Dialing(), "slow reader", RespCommand({"GET", "large"}),
      SlowReader::Reply{absl::StrCat("$", kSize, "\r\n"), 9, kSize, "\r\n"}, uint64_t{0}));
  swarm.Start();
  for (const uint64_t upgrade_at : {kSize / 100, kSize / 3, kSize * 9 / 10}) {
    ASSERT_TRUE(swarm.WaitFor([&] {
      reader->Take(1 << 20);
      return reader->taken() >= upgrade_at || reader->broken();
    }));
    server.Upgrade();
  }
  ASSERT_TRUE(swarm.WaitFor([&] {
    reader->Take(1 << 20);
    return reader->finished() || reader->broken();
  }));
  EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
}

TEST_P(LoadTest, SubscribersMissNoMessageWhileAPublisherGoesOn) {
  DemoServer& server = Start({.threads = GetParam()});
  ClientSwarm swarm(server.endpoint(), Protocol::kResp, RunSeed());
  std::vector<Subscriber*> subscribers;
  for (int i = 0; i < 10; ++i) {
    subscribers.push_back(Must(swarm.Add<Subscriber>({}, absl::StrCat("subscriber ", i),
                                                     std::vector<std::string>{"count"})));
  }
  swarm.Start();
  ASSERT_TRUE(swarm.WaitFor([&] {
    for (const Subscriber* subscriber : subscribers) {
      if (subscriber->subscribed() == 0) return false;
    }
    return true;
  }));
  std::atomic<bool> stop{false};
  uint64_t published = 0;
  std::string failure;
  std::thread publisher([&] {
    auto client = server.Client();
    while (!stop && failure.empty()) {
      const std::string reply = client->Call({"PUBLISH", "count", absl::StrCat(++published)});
      if (reply != "10") failure = reply;
    }
  });
  server.Upgrade(6);
  stop = true;
  publisher.join();
  EXPECT_EQ(failure, "");
  EXPECT_TRUE(swarm.WaitFor([&] {
    for (const Subscriber* subscriber : subscribers) {
      if (subscriber->received("count") < published) return false;
    }
    return true;
  }));
  EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
}

// A program of the redis-tools package, with its output in files.
class RedisTool {
 public:
  explicit RedisTool(const std::vector<std::string>& command) {
    const UniqueFd output(
        open(Path("output").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    const UniqueFd errors(
        open(Path("errors").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    process_ = Must(ChildProcess::Start(
        {.command = command, .standard_output = output.get(), .standard_error = errors.get()}));
  }
  ChildProcess& process() { return *process_; }
  std::string Output() const { return Read("output"); }
  std::string Errors() const { return Read("errors"); }

 private:
  std::string Path(const std::string& name) const { return directory_.File(name); }
  std::string Read(const std::string& name) const {
    std::ifstream file(Path(name));
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  harness::TempDir directory_;
  std::unique_ptr<ChildProcess> process_;
};

void ExpectNoComplaint(const RedisTool& benchmark) {
  EXPECT_THAT(absl::AsciiStrToLower(benchmark.Output()), Not(HasSubstr("error")));
  std::istringstream errors(benchmark.Errors());
  for (std::string line; std::getline(errors, line);) {
    if (line.find("Could not fetch server CONFIG") == std::string::npos) {
      EXPECT_EQ(line, "");
    }
  }
}

// Upgrades again and again for as long as the benchmark runs.
void RunBenchmark(DemoServer& server, const std::vector<std::string>& arguments, int at_least) {
  std::vector<std::string> command = {"redis-benchmark", "-p",
                                      absl::StrCat(server.process().port()), "-q"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  RedisTool benchmark(command);
  int upgrades = 0;
  while (benchmark.process().running()) {
    server.Upgrade();
    ++upgrades;
    ASSERT_LT(upgrades, 10000);
  }
  const auto exit = Must(benchmark.process().WaitForExit(harness::kPatience));
  EXPECT_TRUE(exit.ok()) << exit.ToString() << benchmark.Output() << benchmark.Errors();
  ExpectNoComplaint(benchmark);
  EXPECT_GE(upgrades, at_least) << "it ran for too short a time to show anything";
  for (const char* test :
       {"PING_INLINE", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "RPOP", "SADD", "HSET",
        "SPOP", "ZADD", "ZPOPMIN", "LRANGE_100", "LRANGE_600", "MSET"}) {
    EXPECT_THAT(benchmark.Output(), HasSubstr(test));
  }
}

TEST_P(LoadTest, RedisBenchmarkRunsAllItsTestsThroughUpgradesWithoutAnError) {
  DemoServer& server = Start({.threads = GetParam()});
  RunBenchmark(server, {"-n", "10000"}, 5);
}

TEST_P(LoadTest, RedisBenchmarkRunsPipelinedThroughUpgradesWithoutAnError) {
  DemoServer& server = Start({.threads = GetParam()});
  RunBenchmark(server, {"-n", "30000", "-P", "16"}, 3);
}

TEST_P(LoadTest, RedisCliSubscribedBeforeTenUpgradesGetsItsMessageAfterThem) {
  DemoServer& server = Start({.threads = GetParam()});
  const std::string port = absl::StrCat(server.process().port());
  RedisTool subscriber({"redis-cli", "-p", port, "SUBSCRIBE", "news"});
  RedisTool blocked({"redis-cli", "-p", port, "BLPOP", "list", "0"});
  auto client = server.Client();
  while (client->Call({"PUBLISH", "news", "before"}) != "1") {
  }
  while (client->Call({"INFO", "clients"}).find("blocked_clients:1") == std::string::npos) {
  }
  server.Upgrade(10);
  EXPECT_EQ(client->Call({"PUBLISH", "news", "after"}), "1");
  EXPECT_EQ(client->Call({"RPUSH", "list", "element"}), "1");
  const auto exit = Must(blocked.process().WaitForExit(harness::kPatience));
  EXPECT_TRUE(exit.ok()) << exit.ToString();
  EXPECT_EQ(blocked.Output(), "list\nelement\n");
  while (subscriber.Output().find("after\n") == std::string::npos) {
    ASSERT_TRUE(subscriber.process().running()) << subscriber.Output() << subscriber.Errors();
  }
  EXPECT_EQ(subscriber.Errors(), "");
}

INSTANTIATE_TEST_SUITE_P(OneAndFourThreads, LoadTest, ::testing::Values(1, 4),
                         [](const auto& instance) {
                           return absl::StrCat(instance.param, "Threads");
                         });

}  // namespace
}  // namespace liveexec::e2e
