// What a StreamServer carries of its listeners and of its streams as a whole, and what it refuses.
#include <capnp/message.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "handoff/uv/images.capnp.h"
#include "handoff/uv/stream_server.h"
#include "handoff/uv/testing/stream_server_upgrade.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using testing::EchoLines;
using testing::Script;
using testing::Scripted;
using testing::StreamServerUpgradeTest;
using testing::TestClient;
using testing::TestLoop;

using StreamServerCrossingTest = StreamServerUpgradeTest;

TEST_F(StreamServerCrossingTest, CarriesAThousandConnections) {
  Start({.input = EchoLines});
  std::vector<TestClient> clients;
  for (size_t i = 0; i < 1000; ++i) {
    clients.push_back(TestClient::Tcp("127.0.0.1", port_));
    clients.back().Send("number " + std::to_string(i));
    if (i % 100 == 0) loop_.RunReady();
  }
  loop_.RunUntil([&] {
    size_t unread = 0;
    server_->ForEach([&](Stream& s, StreamHandler&) { unread += s.unread().size() >= 8; });
    return unread == 1000;
  });
  Upgrade({.input = EchoLines});
  EXPECT_EQ(server_->size(), 1000u);
  for (TestClient& client : clients) client.Send("\n");
  for (size_t i = 0; i < clients.size(); ++i) {
    loop_.RunUntil([&] { return clients[i].Has("number " + std::to_string(i) + "\n"); });
  }
}

TEST_F(StreamServerCrossingTest, ServesConnectionsThatWereWaitingInTheAcceptQueue) {
  Start({});
  TestClient early = TestClient::Tcp("127.0.0.1", port_);
  early.Send("early");
  Rehydrate({});  // the loop has not run: nothing is accepted
  EXPECT_EQ(server_->size(), 0u);
  TestClient during = TestClient::Tcp("127.0.0.1", port_);
  during.Send("during");
  server_->Activate();
  loop_.RunUntil([&] { return early.Has("early") && during.Has("during"); });
  EXPECT_EQ(server_->listening()[0].port, port_);
}

TEST_F(StreamServerCrossingTest, OpensInTheNewProgramAConnectionThatNoHandlerHadSeen) {
  // Accepted by one loop for another, which is parked before it can adopt: see also
  // loop_threads_test.cc. Here its other loop is never run.
  TestLoop other;
  int opens = 0;
  const Script script = {.open = [&](Stream& s) {
    ++opens;
    s.Write("welcome").IgnoreError();
  }};
  auto first = std::make_unique<StreamServer>(
      StreamServerOptions{.name = "clients",
                          .loops = {&other.executor(), &loop_.executor()},
                          .make_handler = Scripted(script)});
  port_ = *first->ListenTcp("127.0.0.1", 0);
  first->Activate();
  TestClient clients[] = {TestClient::Tcp("127.0.0.1", port_), TestClient::Tcp("127.0.0.1", port_)};
  other.RunUntil([&] { return first->size() == 2; });
  other.RunReady();
  EXPECT_EQ(opens, 1);
  ASSERT_TRUE(first->Quiesce().ok());
  auto state = CarriedState::Of(*first);
  ASSERT_TRUE(state.ok());

  server_ = Make(script);
  ASSERT_TRUE(state->RehydrateInto(*server_).ok());
  EXPECT_EQ(server_->size(), 2u);
  server_->Activate();
  loop_.RunUntil([&] { return clients[0].Has("welcome") && clients[1].Has("welcome"); });
  EXPECT_EQ(opens, 2);
  // The destructor waits for the second loop, so another thread has to run it.
  server_.reset();
  std::thread runner([&] { uv_run(loop_.loop(), UV_RUN_DEFAULT); });
  first.reset();
  loop_.executor().Post([&] { uv_stop(loop_.loop()); });
  runner.join();
}

TEST_F(StreamServerCrossingTest, GoesOnAsBeforeWhenTheUpgradeIsAbandoned) {
  Start({.input = EchoLines});
  TestClient client = Connect();
  client.Send("half ");
  loop_.RunUntil([&] { return stream().unread().size() == 5; });
  ASSERT_TRUE(server_->Quiesce().ok());
  { auto state = CarriedState::Of(*server_); }
  EXPECT_EQ(stream().Write("x").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(server_->ListenTcp("127.0.0.1", 0).status().code(),
            absl::StatusCode::kFailedPrecondition);
  stream().Close();
  stream().CloseAfterFlush();
  EXPECT_FALSE(stream().closed()) << "quiesced";
  server_->Resume();
  client.Send("request\n");
  loop_.RunUntil([&] { return client.Has("half request\n"); });
  TestClient later = Connect();
  later.Send("later\n");
  loop_.RunUntil([&] { return later.Has("later\n"); });
}

TEST_F(StreamServerCrossingTest, GoesOnServingWhileARehearsalReadsItsState) {
  Start({.input = EchoLines});
  TestClient client = Connect();
  client.Send("half ");
  loop_.RunUntil([&] { return stream().unread().size() == 5; });
  auto state = CarriedState::Of(*server_);  // without Quiesce
  ASSERT_TRUE(state.ok());
  client.Send("request\n");
  loop_.RunUntil([&] { return client.Has("half request\n"); });
}

TEST_F(StreamServerCrossingTest, ReportsAClosedConnectionBeforeTheStateIsExported) {
  int closes = 0;
  Start({.close = [&](Stream&) { ++closes; }});
  TestClient gone = Connect();
  TestClient kept = Connect();
  loop_.executor().Post([&] {
    server_->ForEach([&](Stream& s, StreamHandler&) {
      if (s.id() == 1) s.Close();
    });
    EXPECT_EQ(closes, 0);
    EXPECT_TRUE(server_->Quiesce().ok());
    EXPECT_EQ(closes, 1);
    server_->Resume();
  });
  loop_.RunUntil([&] { return closes == 1; });
  Upgrade({});
  EXPECT_EQ(server_->size(), 1u);
  kept.Send("x");
  loop_.RunUntil([&] { return kept.Has("x"); });
}

TEST_F(StreamServerCrossingTest, NeverGivesAnIdASecondTime) {
  Start({});
  {
    TestClient first = Connect();
    TestClient second = Connect();
  }
  loop_.RunUntil([&] { return server_->size() == 0; });
  Upgrade({});
  TestClient third = Connect();
  EXPECT_EQ(stream().id(), 3u);
}

TEST_F(StreamServerCrossingTest, KeepsUnixListenersAndTheirPaths) {
  const std::string path = "/tmp/liveexec-upgrade-" + std::to_string(getpid());
  server_ = Make({});
  ASSERT_TRUE(server_->ListenUnix(path, 0600).ok());
  server_->Activate();
  TestClient before = TestClient::Unix(path);
  Rehydrate({});
  TestClient during = TestClient::Unix(path);
  server_->Activate();
  TestClient after = TestClient::Unix(path);
  for (TestClient* client : {&before, &during, &after}) {
    client->Send("x");
    loop_.RunUntil([&] { return client->Has("x"); });
  }
  EXPECT_EQ(server_->listening()[0].path, path);
  server_->StopListening();
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST_F(StreamServerCrossingTest, KeepsThePlacesOfListenersThatWereStopped) {
  Start({});
  server_->StopListening();
  const int second = *server_->ListenTcp("127.0.0.1", 0);
  Upgrade({});
  ASSERT_EQ(server_->listening().size(), 2u);
  EXPECT_FALSE(server_->listening()[0].open);
  EXPECT_EQ(server_->listening()[1].port, second);
  port_ = second;
  TestClient client = Connect();
  EXPECT_EQ(stream().listener(), 1u);
}

// Malformed images: an error, whatever they say.
class NoFds final : public FdSource {
 public:
  absl::StatusOr<UniqueFd> Take(std::string_view, std::string_view, uint64_t) override {
    ++taken;
    if (taken > allowed) return absl::NotFoundError("no such fd");
    return UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  std::vector<uint64_t> Numbers(std::string_view, std::string_view) const override { return {}; }
  int taken = 0;
  int allowed = 0;
};

class MalformedImageTest : public StreamServerUpgradeTest {
 protected:
  absl::Status RehydrateFrom(capnp::MallocMessageBuilder& message, int fds) {
    capnp::SegmentArrayMessageReader reader(message.getSegmentsForOutput());
    NoFds source;
    source.allowed = fds;
    ImportContext context("clients", 1, &reader, &source, false);
    server_ = Make({});
    return server_->Rehydrate(context);
  }
};

TEST_F(MalformedImageTest, WithoutTheFdsThatItNamesIsRefused) {
  capnp::MallocMessageBuilder message;
  message.initRoot<image::StreamServer>().initListeners(1);
  EXPECT_EQ(RehydrateFrom(message, 0).code(), absl::StatusCode::kNotFound);
}

TEST_F(MalformedImageTest, WithStreamsOfNoListenerIsRefused) {
  capnp::MallocMessageBuilder message;
  message.initRoot<image::StreamServer>().initStreams(1)[0].setId(1);
  EXPECT_EQ(RehydrateFrom(message, 9).code(), absl::StatusCode::kDataLoss);
}

TEST_F(MalformedImageTest, WithTwoStreamsOfOneIdIsRefused) {
  capnp::MallocMessageBuilder message;
  auto image = message.initRoot<image::StreamServer>();
  image.initListeners(1);
  auto streams = image.initStreams(2);
  streams[0].setId(5);
  streams[1].setId(5);
  streams[0].setLoop(4'000'000'000);
  EXPECT_EQ(RehydrateFrom(message, 9).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(MalformedImageTest, WithoutARootIsRefused) {
  NoFds source;
  ImportContext context("clients", 1, nullptr, &source, false);
  server_ = Make({});
  EXPECT_EQ(server_->Rehydrate(context).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace liveexec::uv
