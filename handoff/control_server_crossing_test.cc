// What a ControlServer carries, and leaves alone, when the program is replaced.
#include <unistd.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "handoff/control_server.h"
#include "handoff/control_server_fixture.h"
#include "handoff/control_test_util.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using ControlServerCrossingTest = ControlServerTest;

TEST_F(ControlServerCrossingTest, CarriesARequestCutAnywhere) {
  const std::string frame = EncodeFrame(kStatus);
  for (size_t cut = 0; cut <= frame.size(); cut += 3) {
    auto old_server = Serve();
    RawClient client = Client();
    client.Write(frame.substr(0, cut));
    // Only accepted and received: a whole frame is answered before the crossing.
    for (int i = 0; i < 3; ++i) Turn(*old_server, absl::ZeroDuration());
    ASSERT_TRUE(old_server->Quiesce().ok());
    auto new_server = Successor();
    ASSERT_TRUE(Cross(*old_server, *new_server).ok());
    new_server->Activate();
    client.Write(frame.substr(cut));
    auto response = client.Await(*new_server);
    ASSERT_TRUE(response.has_value()) << cut;
    EXPECT_EQ(std::get<ControlStatus>(response->body).pid, 42u);
  }
}

TEST_F(ControlServerCrossingTest, TheSuccessorAnswersWhoAskedForTheUpgrade) {
  auto old_server = Serve();
  RawClient client = Client();
  client.Write(kUpgrade);
  ASSERT_TRUE(Drive(*old_server, [&] { return !asked_.empty(); }));
  ASSERT_TRUE(old_server->Quiesce().ok());
  auto new_server = Successor();
  ASSERT_TRUE(Cross(*old_server, *new_server).ok());
  EXPECT_EQ(new_server->Waiting(), asked_);
  EXPECT_EQ(new_server->path(), directory_.socket());
  new_server->SendProgress(asked_[0], {"rehydrating"});
  new_server->SendResult(asked_[0], JournalEntry{.upgrade = 8});
  EXPECT_FALSE(client.Next().has_value()) << "not a byte before the commit";
  new_server->Activate();
  auto progress = client.Await(*new_server);
  ASSERT_TRUE(progress.has_value());
  EXPECT_EQ(std::get<ControlProgress>(progress->body).phase, "rehydrating");
  auto result = client.Await(*new_server);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->id, 5u);
  EXPECT_EQ(std::get<JournalEntry>(result->body).upgrade, 8u);
  // New connections get new numbers.
  RawClient next = Client();
  next.Write(kUpgrade);
  ASSERT_TRUE(Drive(*new_server, [&] { return asked_.size() == 2; }));
  EXPECT_GT(asked_[1], asked_[0]);
}

TEST_F(ControlServerCrossingTest, CarriesWhatIsUnsentOfALongAnswerAndTheRequestsBehindIt) {
  options_.request_burst = 10'000;
  auto old_server = Serve();
  RawClient client = Client();
  std::string bytes;
  for (uint64_t id = 1; id <= 20; ++id) {
    bytes += EncodeFrame(ControlRequest{id, ControlHistoryRequest{60}});
  }
  ASSERT_EQ(client.Write(bytes), bytes.size());
  for (int i = 0; i < 5; ++i) Turn(*old_server, absl::ZeroDuration());
  ASSERT_TRUE(old_server->Quiesce().ok());
  auto new_server = Successor();
  ASSERT_TRUE(Cross(*old_server, *new_server).ok());
  new_server->Activate();
  for (uint64_t id = 1; id <= 20; ++id) {
    auto response = client.Await(*new_server);
    ASSERT_TRUE(response.has_value()) << id;
    EXPECT_EQ(response->id, id);
    EXPECT_EQ(std::get<std::vector<JournalEntry>>(response->body).size(), 60u);
  }
}

TEST_F(ControlServerCrossingTest, QuiescedItDoesNothingAndResumesWhereItWas) {
  auto server = Serve();
  RawClient client = Client();
  client.Write(kUpgrade);
  ASSERT_TRUE(Drive(*server, [&] { return !asked_.empty(); }));
  client.Write(kStatus);
  ASSERT_TRUE(server->Quiesce().ok());
  std::vector<pollfd> fds;
  server->AppendPollFds(fds);
  EXPECT_THAT(fds, IsEmpty());
  EXPECT_EQ(server->UntilDeadline(), absl::InfiniteDuration());
  server->SendProgress(asked_[0], {"exporting"});
  server->SendResult(asked_[0], JournalEntry{.upgrade = 4});
  EXPECT_FALSE(client.Next().has_value());
  server->Resume();
  auto result = client.Await(*server);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(std::get<JournalEntry>(result->body).upgrade, 4u);
  auto status = client.Await(*server);
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->id, 1u);
}

TEST_F(ControlServerCrossingTest, ExportChangesNothing) {
  auto server = Serve();
  RawClient client = Client();
  client.Write(EncodeFrame(kStatus).substr(0, 9));
  Turn(*server);
  Turn(*server, absl::ZeroDuration());
  ASSERT_TRUE(server->Quiesce().ok());
  ExportContext first, second;
  ASSERT_TRUE(server->Export(first).ok());
  ASSERT_TRUE(server->Export(second).ok());
  EXPECT_EQ(capnp::messageToFlatArray(first.message()).asBytes(),
            capnp::messageToFlatArray(second.message()).asBytes());
  EXPECT_EQ(first.fds().size(), 2u);
  server->Resume();
  client.Write(EncodeFrame(kStatus).substr(9));
  EXPECT_EQ(client.AwaitError(*server), "");
}

TEST_F(ControlServerCrossingTest, ARehearsalLeavesTheSocketAlone) {
  auto server = Serve();
  {
    auto rehearsed = Successor();
    ASSERT_TRUE(Cross(*server, *rehearsed, Crossing::kRehearsal).ok());
    EXPECT_EQ(rehearsed->path(), directory_.socket());
  }
  RawClient client = Client();
  client.Write(kStatus);
  EXPECT_EQ(client.AwaitError(*server), "");
}

TEST_F(ControlServerCrossingTest, ARolledBackSuccessorLeavesTheSocketAlone) {
  auto server = Serve();
  ASSERT_TRUE(server->Quiesce().ok());
  {
    auto failing = Successor();
    ASSERT_TRUE(Cross(*server, *failing).ok());
  }
  server->Resume();
  RawClient client = Client();
  client.Write(kStatus);
  EXPECT_EQ(client.AwaitError(*server), "");
}

TEST_F(ControlServerCrossingTest, ANameThatWasRemovedIsThereAgainAfterAnUpgrade) {
  auto server = Serve();
  RawClient early = Client();
  ASSERT_EQ(unlink(directory_.socket().c_str()), 0);
  ASSERT_TRUE(server->Quiesce().ok());
  auto new_server = Successor();
  ASSERT_TRUE(Cross(*server, *new_server).ok());
  new_server->Activate();
  RawClient client = Client();
  for (RawClient* one : {&early, &client}) {
    one->Write(kStatus);
    EXPECT_EQ(one->AwaitError(*new_server), "");
  }
}

TEST_F(ControlServerCrossingTest, ASuccessorMayBeTheFirstToListen) {
  ControlServer silent("", handlers_, options_);
  ASSERT_TRUE(silent.Initialize().ok());
  silent.Activate();
  EXPECT_EQ(silent.path(), "");
  ASSERT_TRUE(silent.Quiesce().ok());
  auto new_server = Successor();
  ASSERT_TRUE(Cross(silent, *new_server).ok());
  new_server->Activate();
  RawClient client = Client();
  client.Write(kStatus);
  EXPECT_EQ(client.AwaitError(*new_server), "");
}

}  // namespace
}  // namespace liveexec
