// What a StreamServer carries of each stream.
#include "handoff/uv/testing/stream_server_upgrade.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "handoff/uv/stream_server.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using testing::EchoLines;
using testing::Script;
using testing::StreamServerUpgradeTest;
using testing::TestClient;

std::string Numbered(size_t size) {
  std::string bytes;
  for (uint64_t i = 0; bytes.size() < size; ++i) bytes += std::to_string(i) + ",";
  bytes.resize(size);
  return bytes;
}

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

}  // namespace
}  // namespace liveexec::uv
