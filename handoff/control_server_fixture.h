// A ControlServer of a test's own, with handlers that remember what they were asked.
#ifndef LIVEEXEC_HANDOFF_CONTROL_SERVER_FIXTURE_H_
#define LIVEEXEC_HANDOFF_CONTROL_SERVER_FIXTURE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "handoff/control_server.h"
#include "handoff/control_test_util.h"

namespace liveexec {

inline const ControlRequest kStatus = {1, ControlStatusRequest{}};
inline const ControlRequest kUpgrade = {5, ControlUpgrade{"/srv/echo"}};

class ControlServerTest : public testing::Test {
 protected:
  ControlServerTest() {
    options_.clock = [this] { return now_; };
    handlers_.status = [] { return ControlStatus{.pid = 42}; };
    handlers_.history = [](uint32_t limit) {
      return std::vector<JournalEntry>(limit, JournalEntry{.message = std::string(4000, 'm')});
    };
    handlers_.upgrade = [this](ControlServer::ConnectionId id, const ControlUpgrade& upgrade) {
      asked_.push_back(id);
      binary_ = upgrade.binary;
      return upgrade_answer_;
    };
  }

  std::unique_ptr<ControlServer> Serve() {
    auto server = ControlServer::Listen(directory_.socket(), handlers_, options_);
    EXPECT_TRUE(server.ok()) << server.status();
    return server.ok() ? *std::move(server) : nullptr;
  }
  std::unique_ptr<ControlServer> Successor() {
    return std::make_unique<ControlServer>(directory_.socket(), handlers_, options_);
  }
  RawClient Client() {
    RawClient client(directory_.socket());
    EXPECT_TRUE(client.connected());
    return client;
  }

  TestDirectory directory_;
  absl::Duration now_ = absl::Hours(1);
  ControlServer::Options options_;
  ControlServer::Handlers handlers_;
  absl::Status upgrade_answer_;
  std::vector<ControlServer::ConnectionId> asked_;
  std::string binary_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONTROL_SERVER_FIXTURE_H_
