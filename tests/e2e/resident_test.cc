// Data in resident memory: handed over as it is where the versions allow it, exported where not.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/clock.h"
#include "tests/harness/snapshot.h"

namespace liveexec::e2e {
namespace {

using harness::RespClient;
using nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kCrossed[] = "bytes of resident memory crossed";
constexpr char kExported[] = "resident memory stays behind";

// The journal's notes on the last upgrade, as one text.
std::string NotesOf(DemoServer& server) {
  const auto result = server.Liveexec("history", {"--json", "--limit", "1"});
  std::string text;
  const json answer = json::parse(result.output);
  for (const json& note : answer["history"][0]["notes"]) {
    absl::StrAppend(&text, note.get<std::string>(), "\n");
  }
  return text;
}

// A field of INFO MEMORY.
uint64_t Info(RespClient& client, const std::string& name) {
  const std::string page = client.Call({"INFO", "memory"});
  const size_t at = page.find(name + ":");
  uint64_t value = 0;
  if (at == std::string::npos) return value;
  const size_t start = at + name.size() + 1;
  EXPECT_TRUE(absl::SimpleAtoi(
      page.substr(start, page.find_first_not_of("0123456789", start) - start), &value));
  return value;
}

// Every type, small and large, with expiries and updates of each.
void FillIn(RespClient& client, const std::string& mark) {
  const std::string large(100'000, 'L');
  EXPECT_EQ(client.Call({"SET", "text" + mark, "value"}), "OK");
  EXPECT_EQ(client.Call({"SET", "large" + mark, large}), "OK");
  EXPECT_EQ(client.Call({"SET", "mortal" + mark, "soon", "EX", "1000000"}), "OK");
  for (int i = 0; i < 300; ++i) {
    const std::string number = std::to_string(i);
    client.Call({"RPUSH", "list" + mark, number, large.substr(0, static_cast<size_t>(i))});
    client.Call({"HSET", "hash" + mark, "field" + number, number});
    client.Call({"SADD", "set" + mark, "member" + number});
    client.Call({"ZADD", "sorted" + mark, number, "member" + number});
  }
}

void ExpectAll(RespClient& client, const std::string& mark) {
  EXPECT_EQ(client.Call({"GET", "text" + mark}), "value");
  EXPECT_EQ(client.Call({"STRLEN", "large" + mark}), "100000");
  EXPECT_EQ(client.Call({"LLEN", "list" + mark}), "600");
  EXPECT_EQ(client.Call({"LINDEX", "list" + mark, "-2"}), "299");
  EXPECT_EQ(client.Call({"HGET", "hash" + mark, "field299"}), "299");
  EXPECT_EQ(client.Call({"HLEN", "hash" + mark}), "300");
  EXPECT_EQ(client.Call({"SISMEMBER", "set" + mark, "member7"}), "1");
  EXPECT_EQ(client.Call({"ZRANK", "sorted" + mark, "member123"}), "123");
  int64_t left = 0;
  EXPECT_TRUE(absl::SimpleAtoi(client.Call({"TTL", "mortal" + mark}), &left));
  EXPECT_GT(left, 900'000);
}

class ResidentTest : public DemoServerTest, public ::testing::WithParamInterface<int> {};

TEST_P(ResidentTest, GoesTheWayThatTheVersionsAllowAndKeepsAllEitherWay) {
  DemoServer& server = Start({.threads = GetParam()});
  auto client = server.Client();
  EXPECT_GT(Info(*client, "resident_memory_capacity"), 0u);
  std::vector<std::string> marks;
  // There and back, and twice in a row the same way.
  for (Version to : {Version::kV2, Version::kV1, Version::kV0, Version::kV0, Version::kV2,
                     Version::kV2, Version::kV1}) {
    marks.push_back(std::to_string(marks.size()));
    FillIn(*client, marks.back());
    const bool was_old =
        client->Call({"INFO", "server"}).find("demo_version:v0") != std::string::npos;
    server.UpgradeTo(to);
    const bool same_layout = was_old == (to == Version::kV0);
    EXPECT_THAT(NotesOf(server), HasSubstr(same_layout ? kCrossed : kExported));
    for (const std::string& mark : marks) ExpectAll(*client, mark);
    // They can be changed, and go.
    EXPECT_EQ(client->Call({"APPEND", "text" + marks.back(), "!"}), "6");
    EXPECT_EQ(client->Call({"SET", "text" + marks.back(), "value"}), "OK");
    EXPECT_EQ(client->Call({"ZINCRBY", "sorted" + marks.back(), "0", "member0"}), "0");
  }
  EXPECT_EQ(client->Call({"FLUSHALL"}), "OK");
  EXPECT_LT(Info(*client, "resident_memory"), uint64_t{8} << 20);
}

TEST_P(ResidentTest, AHundredUpgradesLeaveNothingBehind) {
  DemoServer& server = Start({.threads = GetParam()});
  auto client = server.Client();
  FillIn(*client, "");
  const auto upgrade = [&](int times) {
    for (int i = 0; i < times; ++i) server.UpgradeTo(i % 2 == 0 ? Version::kV2 : Version::kV1);
  };
  upgrade(2);
  const uint64_t used = Info(*client, "resident_memory");
  const auto fds = [&] { return Must(harness::TakeSnapshot(server.process().pid())).fds.size(); };
  const size_t fds_before = fds();
  upgrade(98);
  EXPECT_THAT(NotesOf(server), HasSubstr(kCrossed));
  ExpectAll(*client, "");
  EXPECT_EQ(Info(*client, "resident_memory"), used);
  EXPECT_EQ(fds(), fds_before);
}

TEST_P(ResidentTest, OnTheHeapThereIsNone) {
  DemoServer& server = Start({.threads = GetParam(), .arguments = {"--heap"}});
  auto client = server.Client();
  FillIn(*client, "");
  EXPECT_EQ(Info(*client, "resident_memory_capacity"), 0u);
  server.UpgradeTo(Version::kV2);
  EXPECT_THAT(NotesOf(server), Not(AnyOf(HasSubstr(kCrossed), HasSubstr(kExported))));
  ExpectAll(*client, "");
}

INSTANTIATE_TEST_SUITE_P(OneAndFourThreads, ResidentTest, ::testing::Values(1, 4),
                         [](const auto& instance) {
                           return absl::StrCat(instance.param, "Threads");
                         });

class ResidentMemoryTest : public DemoServerTest {};

TEST_F(ResidentMemoryTest, GrowsOverUpgradesAndIsGivenBackWhenItIsFreed) {
  DemoServer& server = Start();
  auto client = server.Client();
  const std::string megabyte(1 << 20, 'M');
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < 8; ++j) {
      EXPECT_EQ(client->Call({"SET", absl::StrCat(i, ":", j), megabyte}), "OK");
    }
    server.UpgradeTo(i % 2 == 0 ? Version::kV2 : Version::kV1);
  }
  EXPECT_GE(Info(*client, "resident_memory"), uint64_t{64} << 20);
  EXPECT_EQ(client->Call({"GET", "0:0"}), megabyte);
  EXPECT_EQ(client->Call({"FLUSHALL"}), "OK");
  EXPECT_LT(Info(*client, "resident_memory"), uint64_t{4} << 20);
  EXPECT_LE(Info(*client, "resident_memory_idle"), uint64_t{8} << 20);
  EXPECT_EQ(client->Call({"SET", "again", megabyte}), "OK");
}

TEST_F(ResidentMemoryTest, WhenItIsUsedUpWritesAreRefusedAndAllElseGoesOn) {
  DemoServer& server = Start({.arguments = {"--resident-capacity", "16MB"}});
  auto client = server.Client();
  std::string reply;
  int stored = 0;
  for (; stored < 100'000; ++stored) {
    reply = client->Call({"SET", absl::StrCat("key", stored), std::string(1000, 'v')});
    if (reply != "OK") break;
  }
  EXPECT_THAT(reply, HasSubstr("OOM command not allowed"));
  EXPECT_GT(stored, 5000);
  EXPECT_EQ(client->Call({"STRLEN", "key0"}), "1000");
  server.UpgradeTo(Version::kV2);
  EXPECT_THAT(NotesOf(server), HasSubstr(kCrossed));
  EXPECT_THAT(client->Call({"SET", "more", std::string(1000, 'v')}), HasSubstr("OOM"));
  EXPECT_EQ(client->Call({"DBSIZE"}), std::to_string(stored));
  EXPECT_THAT(client->Call({"APPEND", "key0", std::string(20 << 20, 'v')}), HasSubstr("OOM"));
  EXPECT_EQ(client->Call({"FLUSHALL"}), "OK");
  EXPECT_EQ(client->Call({"SET", "more", std::string(1000, 'v')}), "OK");
}

TEST_F(ResidentMemoryTest, InspectSaysWhichWayAnUpgradeWouldGo) {
  DemoServer& server = Start();
  const auto notes = [&](Version version) {
    return server.Liveexec("inspect", {BinaryOf(version)}).output;
  };
  EXPECT_THAT(notes(Version::kV2), HasSubstr("component memory crosses as it is"));
  EXPECT_THAT(notes(Version::kV0), HasSubstr("component memory is exported and read anew"));
  EXPECT_THAT(notes(Version::kV2), HasSubstr("memory: reads layout "));
}

}  // namespace
}  // namespace liveexec::e2e
