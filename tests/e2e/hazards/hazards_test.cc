// Hazards: unloading code in a live process is sound only if nothing points to it, stands in it or
// waits to be destroyed by it. This server does all of that to its plugin, and is upgraded all the
// same: exec ends every one of these things at once, and runs none of the plugin's endings.
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "core/unique_fd.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/snapshot.h"
#include "tests/harness/testing.h"

namespace liveexec::hazards {
namespace {

using harness::CommandResult;
using harness::IsOk;
using harness::Must;
using harness::ServerUnderTest;
using harness::Snapshot;
using ::testing::HasSubstr;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// One connection, kept for the whole test.
class LineClient {
 public:
  explicit LineClient(UniqueFd fd) : fd_(std::move(fd)) {}

  // The connection's end is an empty answer.
  std::string Ask(const std::string& line) {
    const std::string request = line + "\n";
    EXPECT_EQ(write(fd_.get(), request.data(), request.size()),
              static_cast<ssize_t>(request.size()));
    std::string answer;
    char byte = 0;
    while (read(fd_.get(), &byte, 1) == 1 && byte != '\n') answer += byte;
    return answer;
  }

 private:
  UniqueFd fd_;
};

class HazardsTest : public harness::ServerTest {
 protected:
  HazardsTest() : folder_(MakeFolder()) {}
  ~HazardsTest() override { std::filesystem::remove_all(folder_); }

  // As a package manager does: a new file under the old name.
  void InstallPlugin(int revision) {
    const bool second = revision % 2 == 1;
    std::string library =
        ReadAll(absl::StrCat("tests/e2e/hazards/libplugin_", second ? "second" : "first", ".so"));
    const std::string mark = "REVISION:0000";
    const size_t place = library.find(mark);
    ASSERT_NE(place, std::string::npos);
    library.replace(place, mark.size(), absl::StrFormat("REVISION:%04d", revision));
    std::ofstream(plugin() + ".new", std::ios::binary) << library;
    std::filesystem::rename(plugin() + ".new", plugin());
  }

  ServerUnderTest& StartServerWithPlugin() {
    InstallPlugin(0);
    return StartServer(
        {.command = {"tests/e2e/hazards/server", plugin(), trap(), "{dir}/run/control"},
         .ready_line = "listening on tcp .*:([0-9]+)$"});
  }
  static LineClient Connect(ServerUnderTest& server) {
    return LineClient(Must(harness::Dial(harness::Endpoint::Tcp(server.port()))));
  }

  std::string plugin() const { return folder_ + "/plugin.so"; }
  std::string trap() const { return folder_ + "/trap"; }

 private:
  static std::string MakeFolder() {
    std::string name = "/tmp/hzXXXXXX";
    return mkdtemp(name.data());
  }

  const std::string folder_;
};

// What the plugins' code does to the state, one after the other.
int64_t Applied(int64_t state, int revision) {
  return revision % 2 == 1 ? state * 3 % 1000003 + 1000 : state + 1 + 2;
}

int64_t Ticks(LineClient& client) {
  const std::vector<std::string> words = absl::StrSplit(client.Ask("hazards"), ' ');
  return words.size() == 6 ? std::stoll(words[5]) : -1;
}

TEST_F(HazardsTest, AServerThatCouldNeverUnloadItsPluginIsUpgradedAHundredTimes) {
  ServerUnderTest& server = StartServerWithPlugin();
  LineClient client = Connect(server);
  int64_t state = 0;
  Snapshot first;
  for (int revision = 0; revision <= 100; ++revision) {
    SCOPED_TRACE(revision);
    if (revision > 0) {
      InstallPlugin(revision);
      // The old code serves on, though its file is gone.
      state = Applied(state, revision - 1);
      ASSERT_EQ(client.Ask("apply"), absl::StrFormat("%04d %d", revision - 1, state));
      const CommandResult result = Must(server.UpgradeByCommand(
          {"handoff/cli/liveexec", "upgrade", "--control", server.File("run/control")}));
      ASSERT_EQ(result.exit.code, 0) << result.output << result.errors;
    }
    // The new code serves the old state over the old connection.
    state = Applied(state, revision);
    ASSERT_EQ(client.Ask("apply"), absl::StrFormat("%04d %d", revision, state));
    // And is as hazardous as the one before: threads stand in it, destructors wait.
    ASSERT_THAT(client.Ask("hazards"), HasSubstr("threads 2 destructors 6 "));
    const int64_t ticks = Ticks(client);
    while (Ticks(client) == ticks) {
    }
    if (revision == 1) first = Must(harness::TakeSnapshot(server.pid()));
  }
  EXPECT_EQ(client.Ask("revisions"), "101");
  const Snapshot last = Must(harness::TakeSnapshot(server.pid()));
  EXPECT_EQ(last.pid, first.pid);
  EXPECT_EQ(last.threads, first.threads);
  EXPECT_EQ(last.FdCounts(), first.FdCounts());
  // Not one destructor or handler of a hundred plugins ran.
  EXPECT_EQ(ReadAll(trap()), "");
  // The last program would run its own: see below.
  EXPECT_THAT(server.Signal(SIGKILL), IsOk());
  EXPECT_THAT(server.WaitForExit(), IsOk());
}

TEST_F(HazardsTest, TheTrapsWorkWhenAProgramEndsInTheOrdinaryWay) {
  ServerUnderTest& server = StartServerWithPlugin();
  Connect(server).Ask("exit");
  EXPECT_THAT(server.WaitForExit(), IsOk());
  const std::string trapped = ReadAll(trap());
  EXPECT_THAT(trapped, HasSubstr("atexit handler of revision 0000\n"));
  EXPECT_THAT(trapped, HasSubstr("static destructor of revision 0000\n"));
  EXPECT_THAT(trapped, HasSubstr("thread_local of revision 0000\n"));
}

TEST_F(HazardsTest, TheTrapsWorkWhenAProgramEndsQuickly) {
  ServerUnderTest& server = StartServerWithPlugin();
  Connect(server).Ask("quick_exit");
  EXPECT_THAT(server.WaitForExit(), IsOk());
  EXPECT_THAT(ReadAll(trap()), HasSubstr("at_quick_exit handler of revision 0000\n"));
}

}  // namespace
}  // namespace liveexec::hazards
