#include "handoff/control_client.h"

#include <atomic>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "handoff/control_test_util.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

using ::testing::ElementsAre;

class ControlClientTest : public testing::Test {
 protected:
  void Serve() {
    auto server = ControlServer::Listen(directory_.socket(), handlers_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    thread_.emplace(*server_);
  }
  ~ControlClientTest() override { thread_.reset(); }

  ControlClient Connect() {
    auto client = ControlClient::Connect(directory_.socket());
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  TestDirectory directory_;
  ControlServer::Handlers handlers_;
  std::unique_ptr<ControlServer> server_;
  std::optional<ServerThread> thread_;
};

TEST_F(ControlClientTest, GetsStatusHistoryAndReports) {
  handlers_.status = [] { return ControlStatus{.pid = 7, .generation = 2}; };
  handlers_.history = [](uint32_t limit) {
    return std::vector<JournalEntry>{{.upgrade = limit}, {.upgrade = limit + 1}};
  };
  handlers_.doctor = [] { return std::string("well"); };
  handlers_.cancel = [] { return absl::OkStatus(); };
  Serve();
  ControlClient client = Connect();
  auto status = client.Status();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->pid, 7u);
  auto history = client.History(5);
  ASSERT_TRUE(history.ok()) << history.status();
  ASSERT_EQ(history->size(), 2u);
  EXPECT_EQ((*history)[1].upgrade, 6u);
  auto report = client.Doctor();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(*report, "well");
  EXPECT_TRUE(client.Cancel().ok());
  EXPECT_EQ(CodeOf(client.Rollback()), "E_UNSUPPORTED");
}

TEST_F(ControlClientTest, ReportsProgressAndReturnsTheResult) {
  handlers_.upgrade = [&](ControlServer::ConnectionId id, const ControlUpgrade& upgrade) {
    server_->SendProgress(id, {"checking", ControlProgress::State::kStarted});
    server_->SendProgress(id, {"checking", ControlProgress::State::kFinished, 5});
    server_->SendResult(id, JournalEntry{.binary = upgrade.binary, .outcome = Outcome::kCommitted});
    return absl::OkStatus();
  };
  Serve();
  std::vector<std::string> seen;
  auto entry = Connect().Upgrade(
      {.binary = "/srv/echo"}, absl::Seconds(10), [&](const ControlProgress& progress) {
        seen.push_back(progress.phase + std::to_string(progress.duration_ns));
      });
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->binary, "/srv/echo");
  EXPECT_EQ(entry->outcome, Outcome::kCommitted);
  EXPECT_THAT(seen, ElementsAre("checking0", "checking5"));
}

TEST_F(ControlClientTest, ReturnsARefusalWithItsCode) {
  handlers_.upgrade = [](ControlServer::ConnectionId, const ControlUpgrade&) {
    return CodedError("E_BUSY", absl::StatusCode::kFailedPrecondition, "one at a time");
  };
  Serve();
  absl::Status status = Connect().Upgrade({}, absl::Seconds(10), nullptr).status();
  EXPECT_EQ(CodeOf(status), "E_BUSY");
  EXPECT_EQ(status.message(), "one at a time");
}

TEST_F(ControlClientTest, SaysThatTheServerWasLostDuringTheUpgrade) {
  std::atomic<bool> asked = false;
  handlers_.upgrade = [&](ControlServer::ConnectionId, const ControlUpgrade&) {
    asked = true;
    asked.notify_all();
    return absl::OkStatus();
  };
  Serve();
  std::thread killer([&] {
    asked.wait(false);
    thread_->Stop();
    server_.reset();
  });
  absl::Status status = Connect().Upgrade({}, absl::Seconds(10), nullptr).status();
  killer.join();
  EXPECT_EQ(CodeOf(status), "E_LOST") << status;
}

TEST_F(ControlClientTest, GivesUpAtItsDeadline) {
  handlers_.upgrade = [](ControlServer::ConnectionId, const ControlUpgrade&) {
    return absl::OkStatus();
  };
  Serve();
  absl::Status status = Connect().Upgrade({}, absl::Milliseconds(30), nullptr).status();
  EXPECT_EQ(CodeOf(status), "E_TIMEOUT") << status;
}

TEST_F(ControlClientTest, SkipsTheAnswerOfARequestThatTimedOut) {
  std::atomic<ControlServer::ConnectionId> requester = 0;
  handlers_.upgrade = [&](ControlServer::ConnectionId id, const ControlUpgrade&) {
    requester = id;
    return absl::OkStatus();
  };
  handlers_.status = [&] {
    server_->SendResult(requester, JournalEntry());
    return ControlStatus{.pid = 3};
  };
  Serve();
  ControlClient client = Connect();
  EXPECT_EQ(CodeOf(client.Upgrade({}, absl::Milliseconds(30), nullptr).status()), "E_TIMEOUT");
  auto status = client.Status();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->pid, 3u);
}

TEST_F(ControlClientTest, SaysThatNobodyListens) {
  absl::Status status = ControlClient::Connect(directory_.socket()).status();
  EXPECT_EQ(CodeOf(status), "E_CONNECT");
  { auto dead = ControlListener::Bind(directory_.socket()); }
  EXPECT_EQ(CodeOf(ControlClient::Connect(directory_.socket()).status()), "E_CONNECT");
  EXPECT_EQ(CodeOf(ControlClient::Connect("").status()), "E_CONNECT");
  EXPECT_EQ(CodeOf(ControlClient::Connect(std::string(200, 'x')).status()), "E_CONNECT");
}

TEST_F(ControlClientTest, GivesUpConnectingWhenTheServerNeverAccepts) {
  auto deaf = ControlListener::Bind(directory_.socket());
  ASSERT_TRUE(deaf.ok()) << deaf.status();
  std::vector<RawClient> clients;
  do {
    clients.emplace_back(directory_.socket());
  } while (clients.back().connected() && clients.size() < 1000);
  absl::Status status =
      ControlClient::Connect(directory_.socket(), absl::Milliseconds(30)).status();
  EXPECT_EQ(CodeOf(status), "E_TIMEOUT") << status;
}

}  // namespace
}  // namespace liveexec
