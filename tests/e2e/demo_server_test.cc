#include "tests/e2e/demo_server_test.h"

#include <array>
#include <csignal>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace liveexec::e2e {

using harness::CommandResult;
using harness::ServerUnderTest;

namespace {

std::string ReadyLine(int generation) {
  return absl::StrCat("demo-server ([^ ]+) ready pid=([0-9]+) generation=", generation, "$");
}

// Bazel starts tests in the workspace's root, where the programs are symbolic links.
std::string Absolute(const std::string& path) { return std::filesystem::canonical(path).string(); }

}  // namespace

std::string BinaryOf(Version version) {
  switch (version) {
    case Version::kV0:
      return Absolute("demo-server/demo-server-v0");
    case Version::kV1:
      return Absolute("demo-server/demo-server");
    case Version::kV2:
      return Absolute("demo-server/demo-server-v2");
  }
  return "";
}

std::string LiveexecBinary() { return Absolute("handoff/cli/liveexec"); }

DemoServer::DemoServer(ServerUnderTest& server) : server_(server) { AwaitGeneration(0); }

std::string DemoServer::AwaitGeneration(int generation) {
  const auto ready = server_.WaitForLine(ReadyLine(generation));
  if (!ready.ok() && generation > 0 && server_.running()) {
    ADD_FAILURE() << "what the server says: " << Liveexec("history", {"--limit", "2"}).output
                  << Liveexec("status").output;
  }
  const std::vector<std::string> line = Must(ready);
  EXPECT_EQ(line[2], absl::StrCat(server_.pid()));
  generation_ = generation;
  return line[1];
}

std::string DemoServer::UpgradeBySignal() {
  EXPECT_THAT(server_.Signal(SIGHUP), IsOk());
  return AwaitGeneration(generation_ + 1);
}

std::string DemoServer::UpgradeTo(Version version) {
  const CommandResult result = Liveexec("upgrade", {"--binary", BinaryOf(version)});
  EXPECT_TRUE(result.exit.ok()) << result.exit.ToString() << "\n" << result.output << result.errors;
  if (!result.exit.ok()) throw std::runtime_error("the upgrade failed");
  return AwaitGeneration(generation_ + 1);
}

void DemoServer::Upgrade(int times) {
  constexpr std::array<Version, 3> kTurns = {Version::kV2, Version::kV0, Version::kV1};
  for (int i = 0; i < times; ++i) {
    if (generation_ % 2 == 1) {
      UpgradeBySignal();
    } else {
      UpgradeTo(kTurns[static_cast<size_t>(generation_ / 2) % kTurns.size()]);
    }
  }
}

std::vector<std::string> DemoServer::LiveexecCommand(
    const std::string& command, const std::vector<std::string>& arguments) const {
  std::vector<std::string> words = {LiveexecBinary(), command, "--control", control()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

CommandResult DemoServer::Liveexec(const std::string& command,
                                   const std::vector<std::string>& arguments) {
  return Must(harness::RunCommand(LiveexecCommand(command, arguments), harness::kPatience));
}

DemoServer& DemoServerTest::Start(const StartOptions& options) {
  harness::ServerOptions server = {
      .command = {BinaryOf(options.version), "--port", "0", "--threads",
                  absl::StrCat(options.threads), "--control", "{dir}/run/control",
                  "--upgrade-binary", BinaryOf(Version::kV1)},
      .ready_line = "listening on tcp .*:([0-9]+)$"};
  server.command.insert(server.command.end(), options.arguments.begin(), options.arguments.end());
  if (options.without_stdin) {
    const std::string closes[] = {"/bin/sh", "-c", "exec \"$@\" <&-", "sh"};
    server.command.insert(server.command.begin(), std::begin(closes), std::end(closes));
  }
  demo_servers_.push_back(std::make_unique<DemoServer>(StartServer(server)));
  return *demo_servers_.back();
}

void DemoServerTest::TearDown() {
  // Each server still answers, and ends cleanly when it is asked to: no test leaves it hurt.
  for (const auto& server : demo_servers_) {
    if (HasFailure() || !server->process().running()) continue;
    EXPECT_EQ(server->Client()->Call({"PING"}), "PONG");
    const auto exit = server->process().Stop();
    EXPECT_THAT(exit, IsOk());
    if (exit.ok()) {
      EXPECT_TRUE(exit->ok()) << exit->ToString();
    }
  }
  demo_servers_.clear();
  ServerTest::TearDown();
}

}  // namespace liveexec::e2e
