// What a StreamServer carries. The upgrade here is one without exec: see testing/carried_state.h;
// the same with processes is in tests/e2e.
#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "handoff/uv/images.capnp.h"
#include "handoff/uv/stream_server.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/scripted_handler.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using testing::EchoLines;
using ::testing::ElementsAre;
using testing::Script;
using testing::Scripted;
using testing::TestClient;
using testing::TestLoop;

std::string Numbered(size_t size) {
  std::string bytes;
  for (uint64_t i = 0; bytes.size() < size; ++i) bytes += std::to_string(i) + ",";
  bytes.resize(size);
  return bytes;
}

class StreamServerUpgradeTest : public ::testing::Test {
 protected:
  std::unique_ptr<StreamServer> Make(Script script) {
    return std::make_unique<StreamServer>(
        StreamServerOptions{.name = "clients",
                            .loops = {&loop_.executor()},
                            .make_handler = Scripted(std::move(script))});
  }

  void Start(Script script) {
    server_ = Make(std::move(script));
    auto port = server_->ListenTcp("127.0.0.1", 0);
    ASSERT_TRUE(port.ok()) << port.status();
    port_ = *port;
    server_->Activate();
  }

  TestClient Connect(int receive_buffer = 0) {
    const size_t before = server_->size();
    TestClient client = TestClient::Tcp("127.0.0.1", port_, receive_buffer);
    loop_.RunUntil([&] { return server_->size() == before + 1; });
    loop_.RunReady();
    return client;
  }

  // What the new program has before Activate.
  void Rehydrate(Script script) {
    ASSERT_TRUE(server_->Quiesce().ok());
    auto state = CarriedState::Of(*server_);
    ASSERT_TRUE(state.ok()) << state.status();
    server_ = Make(std::move(script));
    const absl::Status status = state->RehydrateInto(*server_);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(state->fds_left(), 0u);
  }

  void Upgrade(Script script) {
    Rehydrate(std::move(script));
    server_->Activate();
  }

  Stream& stream() {
    Stream* found = nullptr;
    server_->ForEach([&](Stream& one, StreamHandler&) { found = &one; });
    return *found;
  }

  TestLoop loop_;
  std::unique_ptr<StreamServer> server_;
  int port_ = 0;
};

TEST_F(StreamServerUpgradeTest, FinishesARequestThatTheOldProgramHasReadInPart) {
  Start({.input = EchoLines});
  TestClient client = Connect();
  client.Send("half a re");
  loop_.RunUntil([&] { return stream().unread().size() == 9; });
  const uint64_t id = stream().id();
  Upgrade({.input = EchoLines});
  EXPECT_EQ(stream().id(), id);
  client.Send("quest\n");
  loop_.RunUntil([&] { return client.Has("half a request\n"); });
}

TEST_F(StreamServerUpgradeTest, AnswersARequestThatLiesUnreadAsAWholeWithoutFurtherInput) {
  Start({.input = [](Stream&, std::string_view) { return 0; }});
  TestClient client = Connect();
  client.Send("request\n");
  loop_.RunUntil([&] { return stream().unread().size() == 8; });
  Upgrade({.input = EchoLines});
  loop_.RunUntil([&] { return client.Has("request\n"); });
}

TEST_F(StreamServerUpgradeTest, ReadsWhatTheKernelReceivedDuringTheUpgrade) {
  Start({});
  TestClient client = Connect();
  Rehydrate({});
  client.Send("meanwhile");
  server_->Activate();
  loop_.RunUntil([&] { return client.Has("meanwhile"); });
}

TEST_F(StreamServerUpgradeTest, SendsEveryByteOnceToASlowReaderOverThreeUpgrades) {
  const std::string reply = Numbered(32 << 20);
  const Script script = {.input = [&](Stream& stream, std::string_view input) {
    stream.Write(reply).IgnoreError();
    return input.size();
  }};
  Start(script);
  TestClient client = Connect(4096);
  client.Send("go");
  for (int upgrade = 0; upgrade < 3; ++upgrade) {
    const size_t wanted = client.received().size() + (6 << 20);
    loop_.RunUntil([&] {
      client.ReadSome(100'000);
      return client.received().size() >= wanted;
    });
    EXPECT_GT(stream().pending_output(), 1u << 20);
    Upgrade(script);
  }
  loop_.RunUntil([&] {
    client.ReadSome();
    return client.received().size() >= reply.size();
  });
  EXPECT_TRUE(client.received() == reply);
  loop_.RunUntil([&] { return stream().pending_output() == 0; });
  client.ReadSome();
  EXPECT_EQ(client.received().size(), reply.size()) << "bytes were sent twice";
}

TEST_F(StreamServerUpgradeTest, SendsCarriedOutputBeforeThatOfTheNewProgram) {
  const std::string old_reply = Numbered(6 << 20);
  Start({.input = [&](Stream& stream, std::string_view input) {
    stream.Write(old_reply).IgnoreError();
    return input.size();
  }});
  TestClient client = Connect(4096);
  client.Send("go");
  loop_.RunUntil([&] { return stream().pending_output() > 0; });
  int drained = 0;
  Rehydrate({.drained = [&](Stream&) { ++drained; }});
  EXPECT_TRUE(stream().Write("new").ok()) << "queued until Activate";
  loop_.RunReady();
  EXPECT_EQ(drained, 0);
  server_->Activate();
  loop_.RunUntil([&] { return client.Has(old_reply + "new"); });
  loop_.RunUntil([&] { return drained == 1; });
}

TEST_F(StreamServerUpgradeTest, DoesNotReportTheSameEndTwice) {
  int old_ends = 0;
  Start({.end = [&](Stream&) { ++old_ends; }});
  TestClient client = Connect();
  client.ShutdownWrite();
  loop_.RunUntil([&] { return old_ends == 1; });
  int new_ends = 0;
  Upgrade({.end = [&](Stream&) { ++new_ends; }});
  EXPECT_TRUE(stream().ended());
  ASSERT_TRUE(stream().Write("still here").ok());
  stream().CloseAfterFlush();
  loop_.RunUntil([&] { return client.Ended(); });
  EXPECT_EQ(client.received(), "still here");
  EXPECT_EQ(new_ends, 0);
}

TEST_F(StreamServerUpgradeTest, ReportsAnEndThatCameDuringTheUpgrade) {
  Start({});
  TestClient client = Connect();
  int ends = 0;
  Rehydrate({.end = [&](Stream& s) {
    ++ends;
    s.Close();
  }});
  client.ShutdownWrite();
  server_->Activate();
  loop_.RunUntil([&] { return server_->size() == 0; });
  EXPECT_EQ(ends, 1);
}

TEST_F(StreamServerUpgradeTest, StaysPausedUntilTheNewProgramResumes) {
  Start({.input = [](Stream& stream, std::string_view) -> size_t {
    stream.PauseReading();
    return 0;
  }});
  TestClient client = Connect();
  client.Send("one,");
  loop_.RunUntil([&] { return stream().unread().size() == 4; });
  int calls = 0;
  Upgrade({.input = [&](Stream& stream, std::string_view input) {
    ++calls;
    stream.Write(input).IgnoreError();
    return input.size();
  }});
  client.Send("two");
  loop_.RunReady();
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(stream().reading_paused());
  stream().ResumeReading();
  loop_.RunUntil([&] { return client.Has("one,two"); });
}

TEST_F(StreamServerUpgradeTest, ClosesAfterTheFlushThatTheOldProgramAskedFor) {
  const std::string reply = Numbered(8 << 20);
  Start({.input = [&](Stream& stream, std::string_view input) {
    stream.Write(reply).IgnoreError();
    stream.CloseAfterFlush();
    return input.size();
  }});
  TestClient client = Connect(4096);
  client.Send("quit");
  loop_.RunUntil([&] { return stream().pending_output() > 0; });
  int calls = 0;
  Upgrade({.input = [&](Stream&, std::string_view input) {
    ++calls;
    return input.size();
  }});
  client.Send("too late");
  loop_.RunUntil([&] { return client.EndedOrReset(); });
  EXPECT_TRUE(client.received() == reply);
  EXPECT_EQ(calls, 0);
  loop_.RunUntil([&] { return server_->size() == 0; });
}

TEST_F(StreamServerUpgradeTest, HalfClosesWhenTheCarriedOutputIsSentAndRemembersThatItDid) {
  const std::string reply = Numbered(8 << 20);
  Start({.input = [&](Stream& stream, std::string_view input) {
    stream.Write(reply).IgnoreError();
    stream.ShutdownWrite();
    return input.size();
  }});
  TestClient client = Connect(4096);
  client.Send("request");
  loop_.RunUntil([&] { return stream().pending_output() > 0; });
  std::string got;
  const Script reader = {.input = [&](Stream&, std::string_view input) {
    got += input;
    return input.size();
  }};
  Upgrade(reader);
  loop_.RunUntil([&] { return client.Ended(); });
  EXPECT_TRUE(client.received() == reply);
  Upgrade(reader);
  EXPECT_FALSE(stream().Write("x").ok());
  client.Send("thanks");
  loop_.RunUntil([&] { return got == "thanks"; });
  client.ShutdownWrite();
  loop_.RunUntil([&] { return server_->size() == 0; });
}

TEST_F(StreamServerUpgradeTest, GivesTheHandlerWhatItSaved) {
  int opens = 0;
  Start({.open = [&](Stream&) { ++opens; },
         .save =
             [](capnp::AnyPointer::Builder state) {
               state.setAs<capnp::Text>("database 7");
               return absl::OkStatus();
             }});
  TestClient client = Connect();
  std::string loaded;
  Upgrade({.open = [&](Stream&) { ++opens; },
           .load =
               [&](capnp::AnyPointer::Reader state) {
                 loaded = state.getAs<capnp::Text>().cStr();
                 return absl::OkStatus();
               }});
  loop_.RunReady();
  EXPECT_EQ(loaded, "database 7");
  EXPECT_EQ(opens, 1);
}

TEST_F(StreamServerUpgradeTest, FailsWhenAHandlerCannotSaveOrLoad) {
  Start({.save = [](capnp::AnyPointer::Builder state) {
    state.setAs<capnp::Text>("x");
    return absl::OkStatus();
  }});
  TestClient client = Connect();
  auto state = CarriedState::Of(*server_);
  ASSERT_TRUE(state.ok());
  auto next = Make({.load = [](capnp::AnyPointer::Reader) {
    return absl::DataLossError("the state is not understood");
  }});
  EXPECT_EQ(state->RehydrateInto(*next).code(), absl::StatusCode::kDataLoss);

  Start({.save = [](capnp::AnyPointer::Builder) { return absl::InternalError("no"); }});
  TestClient other = Connect();
  EXPECT_EQ(CarriedState::Of(*server_).status().code(), absl::StatusCode::kInternal);
}

TEST_F(StreamServerUpgradeTest, CarriesAThousandConnections) {
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

TEST_F(StreamServerUpgradeTest, ServesConnectionsThatWereWaitingInTheAcceptQueue) {
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

TEST_F(StreamServerUpgradeTest, OpensInTheNewProgramAConnectionThatNoHandlerHadSeen) {
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

TEST_F(StreamServerUpgradeTest, GoesOnAsBeforeWhenTheUpgradeIsAbandoned) {
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

TEST_F(StreamServerUpgradeTest, GoesOnServingWhileARehearsalReadsItsState) {
  Start({.input = EchoLines});
  TestClient client = Connect();
  client.Send("half ");
  loop_.RunUntil([&] { return stream().unread().size() == 5; });
  auto state = CarriedState::Of(*server_);  // without Quiesce
  ASSERT_TRUE(state.ok());
  client.Send("request\n");
  loop_.RunUntil([&] { return client.Has("half request\n"); });
}

TEST_F(StreamServerUpgradeTest, ReportsAClosedConnectionBeforeTheStateIsExported) {
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

TEST_F(StreamServerUpgradeTest, NeverGivesAnIdASecondTime) {
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

TEST_F(StreamServerUpgradeTest, KeepsUnixListenersAndTheirPaths) {
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

TEST_F(StreamServerUpgradeTest, KeepsThePlacesOfListenersThatWereStopped) {
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
