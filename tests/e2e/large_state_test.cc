// A key space that is large enough to be written ahead of the blackout: no acknowledged write is
// lost, whatever becomes of the upgrade.
#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/random.h"
#include "tests/harness/resp.h"

namespace liveexec::e2e {
namespace {

using harness::RespClient;
using ::testing::HasSubstr;

constexpr size_t kKeys = 24000;

// What a key holds after its change number `change`; about 1 KiB.
std::string ValueOf(size_t key, uint64_t change) {
  return absl::StrCat(key, ":", change, ":", std::string(1000, static_cast<char>('a' + key % 26)));
}

std::string NameOf(size_t key) { return absl::StrCat("key:", key); }

class LargeStateTest : public DemoServerTest {
 protected:
  // For each key the number of its last acknowledged change; nothing when it was deleted.
  using Model = std::vector<std::optional<uint64_t>>;

  void Fill(RespClient& client) {
    std::string pipeline;
    for (size_t key = 0; key < kKeys; ++key) {
      pipeline += harness::RespCommand({"SET", NameOf(key), ValueOf(key, 0)});
    }
    ASSERT_THAT(client.SendRaw(pipeline), IsOk());
    for (size_t key = 0; key < kKeys; ++key) ASSERT_EQ(client.Receive(), "OK");
    model_.assign(kKeys, 0);
  }

  // Changes random keys until `stop`.
  void Change(RespClient& client, const std::atomic<bool>& stop) {
    std::mt19937_64 random(harness::RunSeed());
    for (uint64_t change = 1; !stop; ++change) {
      const size_t key = random() % kKeys;
      if (random() % 8 == 0) {
        client.Call({"DEL", NameOf(key)});
        model_[key].reset();
      } else {
        ASSERT_EQ(client.Call({"SET", NameOf(key), ValueOf(key, change)}), "OK");
        model_[key] = change;
      }
      ++changes_;
    }
  }

  void ExpectAll(RespClient& client) {
    size_t present = 0;
    for (const auto& change : model_) present += change.has_value() ? 1 : 0;
    EXPECT_EQ(client.Call({"DBSIZE"}), absl::StrCat(present));
    std::string pipeline;
    for (size_t key = 0; key < kKeys; ++key) pipeline += harness::RespCommand({"GET", NameOf(key)});
    std::thread sender([&] { EXPECT_THAT(client.SendRaw(pipeline), IsOk()); });
    size_t wrong = 0;
    for (size_t key = 0; key < kKeys; ++key) {
      const std::string value = client.Receive();
      const bool right = model_[key].has_value() ? value == ValueOf(key, *model_[key])
                                                 : value.size() < 10;  // a null
      if (!right && ++wrong < 5) {
        ADD_FAILURE() << NameOf(key) << " holds " << value.substr(0, 40) << " after change "
                      << static_cast<int64_t>(model_[key].value_or(-1));
      }
    }
    sender.join();
    EXPECT_EQ(wrong, 0u);
    EXPECT_THAT(client.Call({"INFO", "stats"}), HasSubstr("liveexec_lost_keys:0"));
  }

  nlohmann::json UpgradeAnswer(DemoServer& server, const std::string& binary) {
    const auto result = server.Liveexec("upgrade", {"--json", "--binary", binary});
    return nlohmann::json::parse(result.output, nullptr, false);
  }

  Model model_;
  std::atomic<uint64_t> changes_{0};
};

// With the keys on the heap, and in resident memory, which crosses between v1 and v2 only.
class LargeStateInBothHomesTest : public LargeStateTest,
                                  public testing::WithParamInterface<const char*> {};

INSTANTIATE_TEST_SUITE_P(Homes, LargeStateInBothHomesTest, testing::Values("--heap", "--resident"),
                         [](const auto& test) {
                           return std::string(test.param) == "--heap" ? "Heap" : "Resident";
                         });

TEST_P(LargeStateInBothHomesTest, NoAcknowledgedWriteIsLostOverUpgradesInARow) {
  DemoServer& server = Start({.threads = 2, .arguments = {GetParam()}});
  auto client = server.Client();
  ASSERT_NO_FATAL_FAILURE(Fill(*client));
  auto writing_client = server.Client();
  std::atomic<bool> stop{false};
  std::thread writer([&] { Change(*writing_client, stop); });
  // The third begins while the second one's keys are still being loaded, the fourth as well.
  server.UpgradeTo(Version::kV2);
  server.UpgradeTo(Version::kV0);
  server.UpgradeTo(Version::kV1);
  server.UpgradeTo(Version::kV2);
  const uint64_t seen = changes_;
  while (changes_ < seen + 100 && !HasFatalFailure()) std::this_thread::yield();
  stop = true;
  writer.join();
  ExpectAll(*client);
}

TEST_P(LargeStateInBothHomesTest, WhatIsWrittenInTheBlackoutDoesNotGrowWithTheState) {
  DemoServer& server = Start({.arguments = {GetParam()}});
  auto client = server.Client();
  ASSERT_NO_FATAL_FAILURE(Fill(*client));
  const auto answer = UpgradeAnswer(server, BinaryOf(Version::kV1));
  ASSERT_EQ(answer.value("outcome", ""), "committed") << answer;
  EXPECT_LT(answer.value("state_bytes", uint64_t{0}), kKeys * 1000 / 100);
  ExpectAll(*client);
}

TEST_P(LargeStateInBothHomesTest, ARolledBackUpgradeLosesNothing) {
  DemoServer& server = Start({.arguments = {GetParam()}});
  auto client = server.Client();
  ASSERT_NO_FATAL_FAILURE(Fill(*client));
  const std::string bad = server.process().File("segv-upgrade");
  std::filesystem::copy_file(std::filesystem::canonical("tests/e2e/bad/bad_server"), bad);
  ASSERT_EQ(chmod(bad.c_str(), 0755), 0);
  auto writing_client = server.Client();
  std::atomic<bool> stop{false};
  std::thread writer([&] { Change(*writing_client, stop); });
  const auto answer = UpgradeAnswer(server, bad);
  EXPECT_EQ(answer.value("outcome", ""), "rolled back") << answer;
  server.UpgradeTo(Version::kV2);
  stop = true;
  writer.join();
  ExpectAll(*client);
}

TEST_F(LargeStateTest, ACopyForWhichThereIsNoRoomIsAbandonedAndHurtsNobody) {
  DemoServer& server = Start({.arguments = {"--heap"}});
  auto client = server.Client();
  ASSERT_NO_FATAL_FAILURE(Fill(*client));
  const pid_t pid = server.process().pid();
  rlimit before;
  // Enough for what a rehearsal takes in its slice, on any machine, and less than a chunk.
  ASSERT_EQ(prlimit(pid, RLIMIT_FSIZE, nullptr, &before), 0);
  const rlimit small = {.rlim_cur = 14 << 20, .rlim_max = before.rlim_max};
  ASSERT_EQ(prlimit(pid, RLIMIT_FSIZE, &small, nullptr), 0);
  const auto answer = UpgradeAnswer(server, BinaryOf(Version::kV2));
  ASSERT_EQ(prlimit(pid, RLIMIT_FSIZE, &before, nullptr), 0);
  EXPECT_EQ(answer.value("outcome", ""), "abandoned") << answer;
  EXPECT_EQ(answer.value("code", ""), "E_MEMORY") << answer;
  EXPECT_EQ(answer.value("failed_phase", ""), "guarding") << answer;
  EXPECT_EQ(client->Call({"SET", NameOf(1), ValueOf(1, 1)}), "OK");
  model_[1] = 1;
  ExpectAll(*client);
  server.UpgradeTo(Version::kV2);
  ExpectAll(*client);
}

// With RLIMIT_FSIZE the new program's resident memory is smaller than the old one's.
TEST_F(LargeStateTest, KeysThatDoNotFitStayPendingUntilThereIsRoom) {
  DemoServer& server = Start({.arguments = {"--resident"}});
  auto client = server.Client();
  ASSERT_NO_FATAL_FAILURE(Fill(*client));
  // The soft limit alone would be set back to what it was at the start.
  const rlimit small = {.rlim_cur = 18 << 20, .rlim_max = 18 << 20};
  ASSERT_EQ(prlimit(server.process().pid(), RLIMIT_FSIZE, &small, nullptr), 0);
  server.UpgradeTo(Version::kV0);
  EXPECT_EQ(client->Call({"DBSIZE"}), absl::StrCat(kKeys));
  EXPECT_THAT(client->Call({"SET", "more", "v"}), HasSubstr("OOM"));
  const auto answer = UpgradeAnswer(server, BinaryOf(Version::kV1));
  EXPECT_EQ(answer.value("outcome", ""), "abandoned") << answer;
  EXPECT_EQ(answer.value("code", ""), "E_NOMEM") << answer;
  for (size_t key = 0; key < kKeys; key += 2) {
    EXPECT_EQ(client->Call({"DEL", NameOf(key)}), "1") << key;
    model_[key].reset();
  }
  while (client->Call({"INFO", "stats"}).find("liveexec_pending_keys:0\r") == std::string::npos) {
  }
  ExpectAll(*client);
}

// Full to the brim, to a program that has to load all keys anew, while others want to write.
TEST_F(LargeStateTest, AFullMemoryOfAnotherLayoutCrossesWhileClientsWrite) {
  DemoServer& server =
      Start({.version = Version::kV0, .arguments = {"--resident-capacity", "48MB"}});
  auto client = server.Client();
  ASSERT_NO_FATAL_FAILURE(Fill(*client));
  int filled = 0;
  while (client->Call({"SET", absl::StrCat("fill", filled), std::string(400, 'f')}) == "OK") {
    ++filled;
  }
  auto writing_client = server.Client();
  std::atomic<bool> stop{false};
  int written = 0;
  std::thread writer([&] {
    while (!stop) {
      const std::string name = absl::StrCat("new", written);
      if (writing_client->Call({"SET", name, std::string(400, 'n')}) == "OK") ++written;
    }
  });
  server.UpgradeTo(Version::kV1);
  while (client->Call({"INFO", "stats"}).find("liveexec_pending_keys:0\r") == std::string::npos) {
  }
  stop = true;
  writer.join();
  for (int i = 0; i < filled; ++i) {
    EXPECT_EQ(client->Call({"DEL", absl::StrCat("fill", i)}), "1") << i;
  }
  for (int i = 0; i < written; ++i) {
    EXPECT_EQ(client->Call({"DEL", absl::StrCat("new", i)}), "1") << i;
  }
  ExpectAll(*client);
}

}  // namespace
}  // namespace liveexec::e2e
