// GoogleTest: the fixture for tests with servers, and matchers whose failures say what a person
// needs.
//
//   class MyServerTest : public liveexec::harness::ServerTest {};
//   TEST_F(MyServerTest, KeepsItsConnections) {
//     ServerUnderTest& server = StartServer({.command = {...}, .ready_line = "..."});
//     ...
//     EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
//   }
#ifndef LIVEEXEC_TESTS_HARNESS_TESTING_H_
#define LIVEEXEC_TESTS_HARNESS_TESTING_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/server_under_test.h"
#include "tests/harness/snapshot.h"

namespace liveexec::harness {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename Value>
const absl::Status& StatusOf(const absl::StatusOr<Value>& result) {
  return result.status();
}

// EXPECT_THAT(status_or_statusor, IsOk())
MATCHER(IsOk, "is ok") {
  if (StatusOf(arg).ok()) return true;
  *result_listener << StatusOf(arg).ToString();
  return false;
}

// EXPECT_THAT(swarm.Finish(), SawNoUpgrade()): every connection kept, every reply once, whole and
// in order.
MATCHER(SawNoUpgrade,
        "saw every reply once, whole and in order, over the connections it began with") {
  *result_listener << arg.ToString();
  return arg.ok();
}

// The value, or the end of the test program's patience: for results without which a test cannot go
// on.
template <typename Value>
Value Must(absl::StatusOr<Value> result) {
  if (!result.ok()) {
    ADD_FAILURE() << result.status().ToString();
    throw std::runtime_error("a precondition of the test failed");
  }
  return *std::move(result);
}

// Checks around every test that the test program leaks no fd and no child. Stops all servers in
// between.
class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Fails the test, and throws, when it does not become ready. The fixture owns it.
  ServerUnderTest& StartServer(const ServerOptions& options);

 private:
  std::vector<std::unique_ptr<ServerUnderTest>> servers_;
  Snapshot before_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TESTING_H_
