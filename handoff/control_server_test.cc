#include "handoff/control_server.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "handoff/control_server_fixture.h"
#include "handoff/control_test_util.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(ControlServerTest, AnswersARequestThatArrivesByteByByte) {
  auto server = Serve();
  RawClient client = Client();
  for (char byte : EncodeFrame(kStatus)) {
    ASSERT_EQ(client.Write({&byte, 1}), 1u);
    Turn(*server);
    Turn(*server, absl::ZeroDuration());
  }
  auto response = client.Await(*server);
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->id, 1u);
  EXPECT_EQ(std::get<ControlStatus>(response->body).pid, 42u);
}

TEST_F(ControlServerTest, AnswersManyRequestsOfOneWriteInOrder) {
  auto server = Serve();
  RawClient client = Client();
  std::string bytes;
  for (uint64_t id = 1; id <= 50; ++id) {
    bytes += EncodeFrame(ControlRequest{id, ControlStatusRequest{}});
  }
  ASSERT_EQ(client.Write(bytes), bytes.size());
  for (uint64_t id = 1; id <= 50; ++id) {
    auto response = client.Await(*server);
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->id, id);
  }
}

TEST_F(ControlServerTest, ToldOfAnUpgradeItSendsProgressAndTheResultToTheRequester) {
  auto server = Serve();
  RawClient client = Client(), other = Client();
  client.Write(kUpgrade);
  ASSERT_TRUE(Drive(*server, [&] { return !asked_.empty(); }));
  EXPECT_EQ(binary_, "/srv/echo");
  EXPECT_EQ(server->Waiting(), asked_);
  server->SendProgress(asked_[0], {"checking", ControlProgress::State::kStarted, 0, ""});
  server->SendResult(asked_[0], JournalEntry{.upgrade = 9});
  EXPECT_THAT(server->Waiting(), IsEmpty());
  auto progress = client.Await(*server);
  ASSERT_TRUE(progress.has_value());
  EXPECT_EQ(progress->id, 5u);
  EXPECT_EQ(std::get<ControlProgress>(progress->body).phase, "checking");
  auto result = client.Await(*server);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->id, 5u);
  EXPECT_EQ(std::get<JournalEntry>(result->body).upgrade, 9u);
  // One answer: a second one has nobody to go to.
  server->SendResult(asked_[0], JournalEntry{.upgrade = 10});
  server->SendError(asked_[0], absl::InternalError("late"));
  other.Write(kStatus);
  ASSERT_TRUE(other.Await(*server).has_value());
  EXPECT_FALSE(client.Next().has_value());
}

TEST_F(ControlServerTest, PassesOnAHandlersRefusalWithItsCode) {
  auto server = Serve();
  upgrade_answer_ = CodedError("E_BUSY", absl::StatusCode::kFailedPrecondition, "one at a time");
  RawClient client = Client();
  client.Write(kUpgrade);
  EXPECT_EQ(client.AwaitError(*server), "E_BUSY");
  EXPECT_THAT(server->Waiting(), IsEmpty());
}

TEST_F(ControlServerTest, LetsAHandlerAnswerAtOnce) {
  std::unique_ptr<ControlServer> server;
  handlers_.upgrade = [&](ControlServer::ConnectionId id, const ControlUpgrade&) {
    server->SendResult(id, JournalEntry{.upgrade = 3});
    return absl::OkStatus();
  };
  server = Serve();
  RawClient client = Client();
  client.Write(kUpgrade);
  auto response = client.Await(*server);
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(std::get<JournalEntry>(response->body).upgrade, 3u);
}

TEST_F(ControlServerTest, RefusesASecondUpgradeOnAConnectionThatWaits) {
  auto server = Serve();
  RawClient client = Client();
  client.Write(EncodeFrame(kUpgrade) + EncodeFrame(kUpgrade));
  EXPECT_EQ(client.AwaitError(*server), "E_BUSY");
  EXPECT_EQ(asked_.size(), 1u);
  EXPECT_EQ(server->Waiting(), asked_);
}

TEST_F(ControlServerTest, SaysWhatItDoesNotOffer) {
  handlers_ = {};
  auto server = Serve();
  RawClient client = Client();
  using Body = decltype(ControlRequest::body);
  for (const Body& body :
       {Body(ControlStatusRequest{}), Body(ControlHistoryRequest{}), Body(ControlUpgrade{}),
        Body(ControlCancel{}), Body(ControlRollback{}), Body(ControlDoctor{})}) {
    client.Write(ControlRequest{1, body});
    EXPECT_EQ(client.AwaitError(*server), "E_UNSUPPORTED") << body.index();
  }
}

TEST_F(ControlServerTest, AsksTheOptionalHandlersThatItHas) {
  handlers_.cancel = [] { return absl::OkStatus(); };
  handlers_.rollback = [] {
    return CodedError("E_NOPREVIOUS", absl::StatusCode::kFailedPrecondition, "none");
  };
  handlers_.doctor = [] { return std::string("all well"); };
  auto server = Serve();
  RawClient client = Client();
  client.Write(ControlRequest{1, ControlCancel{}});
  auto done = client.Await(*server);
  ASSERT_TRUE(done.has_value());
  EXPECT_TRUE(std::holds_alternative<ControlDone>(done->body));
  client.Write(ControlRequest{2, ControlRollback{}});
  EXPECT_EQ(client.AwaitError(*server), "E_NOPREVIOUS");
  client.Write(ControlRequest{3, ControlDoctor{}});
  auto report = client.Await(*server);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(std::get<ControlDoctorReport>(report->body).text, "all well");
}

class MisbehavingClient : public ControlServerTest,
                          public testing::WithParamInterface<std::string> {};

TEST_P(MisbehavingClient, IsToldAndClosedAndHurtsNobody) {
  auto server = Serve();
  RawClient bystander = Client(), client = Client();
  client.Write(GetParam());
  EXPECT_EQ(client.AwaitError(*server), "E_PROTO");
  EXPECT_TRUE(Drive(*server, [&] { return client.AtEnd(); }));
  bystander.Write(kStatus);
  EXPECT_TRUE(bystander.Await(*server).has_value());
}

INSTANTIATE_TEST_SUITE_P(ControlServer, MisbehavingClient,
                         testing::Values(std::string(4, '\0'), std::string(4, '\xff'),
                                         std::string("\1\0\x10\0", 4),
                                         std::string("\x03\0\0\0abc", 7),
                                         std::string("\x08\0\0\0\0\0\0\0\xff\xff\xff\xff", 12),
                                         std::string("GET / HTTP/1.1\r\n\r\n")));

TEST_F(ControlServerTest, ClosesAClientThatSendsOneByteASecond) {
  auto server = Serve();
  RawClient client = Client();
  const std::string frame = EncodeFrame(kStatus);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(client.Write(frame.substr(static_cast<size_t>(i), 1)), 1u);
    Turn(*server);
    Turn(*server, absl::ZeroDuration());
    EXPECT_FALSE(client.AtEnd()) << i;
    EXPECT_LE(server->UntilDeadline(), absl::Seconds(10 - i));
    now_ += absl::Seconds(1);
  }
  EXPECT_EQ(client.AwaitError(*server), "E_TIMEOUT");
  EXPECT_TRUE(Drive(*server, [&] { return client.AtEnd(); }));
}

TEST_F(ControlServerTest, ClosesIdleClientsButNotThoseThatWait) {
  auto server = Serve();
  RawClient idle = Client(), waiting = Client();
  waiting.Write(kUpgrade);
  ASSERT_TRUE(Drive(*server, [&] { return !asked_.empty(); }));
  now_ += absl::Minutes(6);
  EXPECT_TRUE(Drive(*server, [&] { return idle.AtEnd(); }));
  EXPECT_FALSE(waiting.AtEnd());
  server->SendResult(asked_[0], JournalEntry{.upgrade = 1});
  EXPECT_TRUE(waiting.Await(*server).has_value());
}

TEST_F(ControlServerTest, GoesOnWhenTheRequesterIsKilled) {
  auto server = Serve();
  {
    RawClient client = Client();
    client.Write(kUpgrade);
    ASSERT_TRUE(Drive(*server, [&] { return !asked_.empty(); }));
  }
  EXPECT_TRUE(Drive(*server, [&] { return server->Waiting().empty(); }));
  server->SendProgress(asked_[0], {"sealing"});
  server->SendResult(asked_[0], JournalEntry());
  RawClient next = Client();
  next.Write(kStatus);
  EXPECT_TRUE(next.Await(*server).has_value());
}

TEST_F(ControlServerTest, AnswersAClientThatClosedItsSendingHalf) {
  auto server = Serve();
  RawClient client = Client();
  client.Write(kUpgrade);
  ASSERT_EQ(shutdown(client.fd(), SHUT_WR), 0);
  ASSERT_TRUE(Drive(*server, [&] { return !asked_.empty(); }));
  Turn(*server);
  server->SendResult(asked_[0], JournalEntry{.upgrade = 2});
  ASSERT_TRUE(client.Await(*server).has_value());
  EXPECT_TRUE(Drive(*server, [&] { return client.AtEnd(); }));
}

TEST_F(ControlServerTest, RefusesOtherUsers) {
  options_.peer_uid = [](int) -> absl::StatusOr<uid_t> { return geteuid() + 1; };
  auto server = Serve();
  RawClient client = Client();
  EXPECT_EQ(client.AwaitError(*server), "E_PERM");
  EXPECT_TRUE(Drive(*server, [&] { return client.AtEnd(); }));
}

TEST_F(ControlServerTest, ChecksTheUserOfEachRequestAgain) {
  uid_t user = geteuid();
  options_.peer_uid = [&](int) -> absl::StatusOr<uid_t> { return user; };
  auto server = Serve();
  RawClient client = Client();
  client.Write(kStatus);
  ASSERT_TRUE(client.Await(*server).has_value());
  user = geteuid() + 1;
  client.Write(kUpgrade);
  EXPECT_EQ(client.AwaitError(*server), "E_PERM");
  EXPECT_THAT(asked_, IsEmpty());
}

TEST_F(ControlServerTest, BoundsTheRateOfRequestsOfAUser) {
  options_.request_burst = 3;
  options_.requests_per_second = 1;
  auto server = Serve();
  RawClient client = Client(), second = Client();
  for (int i = 0; i < 3; ++i) {
    client.Write(kStatus);
    EXPECT_EQ(client.AwaitError(*server), "") << i;
  }
  client.Write(kStatus);
  EXPECT_EQ(client.AwaitError(*server), "E_RATE");
  // Another connection is no way round it; time is.
  second.Write(kStatus);
  EXPECT_EQ(second.AwaitError(*server), "E_RATE");
  now_ += absl::Seconds(1);
  second.Write(kStatus);
  EXPECT_EQ(second.AwaitError(*server), "");
}

TEST_F(ControlServerTest, TellsOneClientTooManyThatItIsBusy) {
  options_.max_connections = 2;
  auto server = Serve();
  RawClient first = Client(), second = Client(), third = Client();
  EXPECT_EQ(third.AwaitError(*server), "E_BUSY");
  first.Write(kStatus);
  EXPECT_EQ(first.AwaitError(*server), "");
  second.Close();
  Turn(*server);
  RawClient fourth = Client();
  fourth.Write(kStatus);
  EXPECT_EQ(fourth.AwaitError(*server), "");
}

TEST_F(ControlServerTest, HoldsBackRequestsOfAClientThatDoesNotReadAndAnswersThemLater) {
  options_.request_burst = 10'000;
  int asked = 0;
  handlers_.history = [&](uint32_t) {
    ++asked;
    return std::vector<JournalEntry>(60, JournalEntry{.message = std::string(4000, 'm')});
  };
  auto server = Serve();
  RawClient client = Client();
  std::string bytes;
  for (uint64_t id = 1; id <= 200; ++id) {
    bytes += EncodeFrame(ControlRequest{id, ControlHistoryRequest{}});
  }
  ASSERT_EQ(client.Write(bytes), bytes.size());
  for (int i = 0; i < 20; ++i) Turn(*server, absl::ZeroDuration());
  EXPECT_LT(asked, 20);  // about 240 KB each, where 256 KiB may be unsent
  for (uint64_t id = 1; id <= 200; ++id) {
    auto response = client.Await(*server);
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->id, id);
  }
}

TEST_F(ControlServerTest, DropsAClientThatTakesNothingOfItsAnswer) {
  handlers_.history = [](uint32_t) {
    return std::vector<JournalEntry>(
        60, JournalEntry{.fds_left_behind = std::vector<std::string>(64, std::string(4000, 'm'))});
  };
  auto server = Serve();
  RawClient client = Client(), bystander = Client();
  client.Write(ControlRequest{1, ControlHistoryRequest{}});
  bystander.Write(kStatus);
  ASSERT_TRUE(bystander.Await(*server).has_value());
  Turn(*server);
  now_ += absl::Seconds(61);
  Turn(*server);
  EXPECT_TRUE(client.AtEnd());
}

}  // namespace
}  // namespace liveexec
