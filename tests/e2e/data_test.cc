// All data survive an upgrade, in each direction between the versions.
#include <string>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/demo_server_test.h"
#include "tests/harness/clock.h"
#include "tests/harness/random.h"
#include "tests/harness/resp.h"

namespace liveexec::e2e {
namespace {

using harness::RespClient;

void FillIn(RespClient& client) {
  EXPECT_EQ(client.Call({"SET", "text", std::string("with \0 and \r\n", 13)}), "OK");
  EXPECT_EQ(client.Call({"SET", "", "empty key"}), "OK");
  EXPECT_EQ(client.Call({"SET", "empty value", ""}), "OK");
  EXPECT_EQ(client.Call({"INCRBY", "number", "-9223372036854775807"}), "-9223372036854775807");
  EXPECT_EQ(client.Call({"RPUSH", "list", "a", "b", "c"}), "3");
  EXPECT_EQ(client.Call({"HSET", "hash", "f", "1", "g", "2"}), "2");
  EXPECT_EQ(client.Call({"SADD", "set", "only"}), "1");
  EXPECT_EQ(client.Call({"SELECT", "15"}), "OK");
  EXPECT_EQ(client.Call({"SET", "text", "of fifteen"}), "OK");
  EXPECT_EQ(client.Call({"SELECT", "0"}), "OK");
}

void ExpectAll(RespClient& client) {
  EXPECT_EQ(client.Call({"GET", "text"}), std::string("with \0 and \r\n", 13));
  EXPECT_EQ(client.Call({"GET", ""}), "empty key");
  EXPECT_EQ(client.Call({"GET", "empty value"}), "");
  EXPECT_EQ(client.Call({"GET", "number"}), "-9223372036854775807");
  EXPECT_EQ(client.Call({"LRANGE", "list", "0", "-1"}), "[a, b, c]");
  EXPECT_EQ(client.Call({"HGET", "hash", "f"}), "1");
  EXPECT_EQ(client.Call({"HGET", "hash", "g"}), "2");
  EXPECT_EQ(client.Call({"HLEN", "hash"}), "2");
  EXPECT_EQ(client.Call({"SMEMBERS", "set"}), "[only]");
  EXPECT_EQ(client.Call({"DBSIZE"}), "7");
  EXPECT_EQ(client.Call({"SELECT", "15"}), "OK");
  EXPECT_EQ(client.Call({"GET", "text"}), "of fifteen");
  EXPECT_EQ(client.Call({"SELECT", "0"}), "OK");
}

class VersionPairTest : public DemoServerTest,
                        public ::testing::WithParamInterface<std::tuple<Version, Version>> {};

TEST_P(VersionPairTest, HandsOverAllDataAndConnections) {
  const auto [from, to] = GetParam();
  DemoServer& server = Start({.version = from});
  auto client = server.Client();
  FillIn(*client);
  server.UpgradeTo(to);
  ExpectAll(*client);
  server.UpgradeTo(from);  // and back
  ExpectAll(*client);
  ExpectAll(*server.Client());
}

constexpr Version kAll[] = {Version::kV0, Version::kV1, Version::kV2};

INSTANTIATE_TEST_SUITE_P(EachPair, VersionPairTest,
                         ::testing::Combine(::testing::ValuesIn(kAll), ::testing::ValuesIn(kAll)),
                         [](const auto& instance) {
                           return absl::StrCat("V", static_cast<int>(std::get<0>(instance.param)),
                                               "ToV",
                                               static_cast<int>(std::get<1>(instance.param)));
                         });

class DataTest : public DemoServerTest {};

TEST_F(DataTest, TheVersionsTellThemselvesApart) {
  DemoServer& server = Start();
  const std::string one = server.UpgradeTo(Version::kV1);
  const std::string two = server.UpgradeTo(Version::kV2);
  const std::string zero = server.UpgradeTo(Version::kV0);
  EXPECT_NE(one, two);
  EXPECT_NE(one, zero);
  EXPECT_NE(two, zero);
  EXPECT_EQ(server.UpgradeBySignal(), one);
}

TEST_F(DataTest, ExpiryIsKeptAsAMomentNotAsADuration) {
  DemoServer& server = Start();
  auto client = server.Client();
  EXPECT_EQ(client->Call({"SET", "soon", "x", "PX", "1500"}), "OK");
  EXPECT_EQ(client->Call({"SET", "late", "x", "EX", "1000"}), "OK");
  EXPECT_EQ(client->Call({"SET", "never", "x"}), "OK");
  const int64_t start = harness::NowNs();
  server.Upgrade(2);
  int64_t left = 0;
  ASSERT_TRUE(absl::SimpleAtoi(client->Call({"PTTL", "late"}), &left));
  const int64_t passed_ms = (harness::NowNs() - start) / 1'000'000;
  EXPECT_LE(left, 1000'000);
  EXPECT_GE(left, 1000'000 - passed_ms - 50);
  EXPECT_EQ(client->Call({"PTTL", "never"}), "-1");
  // Ask until it is gone: not before its moment.
  while (client->Call({"EXISTS", "soon"}) == "1") {
    ASSERT_LT(harness::NowNs() - start, 30'000'000'000) << "it never expires";
  }
  EXPECT_GE(harness::NowNs() - start, 1'400'000'000);
}

TEST_F(DataTest, ManyKeysAndLargeValuesAreKept) {
  DemoServer& server = Start();
  auto client = server.Client();
  constexpr int kKeys = 20000;
  std::string pipeline;
  for (int i = 0; i < kKeys; ++i) {
    pipeline += harness::RespCommand({"SET", absl::StrCat("key:", i), absl::StrCat("value ", i)});
  }
  ASSERT_THAT(client->SendRaw(pipeline), IsOk());
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(client->Receive(), "OK");
  const std::string large = harness::PositionCodedBytes(4, 0, 20 << 20);
  ASSERT_EQ(client->Call({"SET", "large", large}), "OK");
  server.Upgrade(3);
  EXPECT_EQ(client->Call({"DBSIZE"}), absl::StrCat(kKeys + 1));
  for (int i = 0; i < kKeys; i += 97) {
    EXPECT_EQ(client->Call({"GET", absl::StrCat("key:", i)}), absl::StrCat("value ", i));
  }
  EXPECT_TRUE(client->Call({"GET", "large"}) == large);
}

}  // namespace
}  // namespace liveexec::e2e
