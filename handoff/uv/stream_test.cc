// What a Stream does for its handler while the server serves. Upgrades:
// stream_server_upgrade_test.cc.
#include "handoff/uv/stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "handoff/uv/stream_server.h"
#include "handoff/uv/testing/scripted_handler.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::EchoLines;
using ::testing::ElementsAre;
using testing::Script;
using testing::Scripted;
using ::testing::StartsWith;
using testing::TestClient;
using testing::TestLoop;

class StreamTest : public ::testing::Test {
 protected:
  // A server with `script`, and one client of it.
  TestClient Connect(Script script, int receive_buffer = 0) {
    options_.name = "clients";
    options_.loops = {&loop_.executor()};
    options_.make_handler = Scripted(std::move(script));
    server_ = std::make_unique<StreamServer>(options_);
    auto port = server_->ListenTcp("127.0.0.1", 0);
    EXPECT_TRUE(port.ok()) << port.status();
    server_->Activate();
    TestClient client = TestClient::Tcp("127.0.0.1", *port, receive_buffer);
    loop_.RunUntil([&] { return server_->size() == 1; });
    loop_.RunReady();
    return client;
  }

  Stream& stream() {
    Stream* found = nullptr;
    server_->ForEach([&](Stream& one, StreamHandler&) { found = &one; });
    return *found;
  }

  StreamServerOptions options_;
  TestLoop loop_;
  std::unique_ptr<StreamServer> server_;
};

std::string Numbered(size_t size) {
  std::string bytes;
  for (uint64_t i = 0; bytes.size() < size; ++i) bytes += std::to_string(i) + ",";
  bytes.resize(size);
  return bytes;
}

TEST_F(StreamTest, SendsBackWhatTheHandlerWrites) {
  TestClient client = Connect({});
  client.Send("hello");
  loop_.RunUntil([&] { return client.Has("hello"); });
}

TEST_F(StreamTest, OffersTheRestOfARequestTogetherWithWhatWasLeft) {
  std::vector<std::string> offered;
  TestClient client = Connect({.input = [&](Stream& stream, std::string_view input) {
    offered.emplace_back(input);
    return EchoLines(stream, input);
  }});
  client.Send("one\ntw");
  loop_.RunUntil([&] { return client.Has("one\n"); });
  EXPECT_EQ(stream().unread(), "tw");
  client.Send("o\nthree\n");
  loop_.RunUntil([&] { return client.Has("one\ntwo\nthree\n"); });
  EXPECT_THAT(offered, ElementsAre("one\ntw", "two\nthree\n"));
  EXPECT_EQ(stream().unread(), "");
}

TEST_F(StreamTest, DoesNotBotherAHandlerThatWaitsForABigRequest) {
  constexpr size_t kSize = 20 << 20;
  int calls = 0;
  std::string got;
  TestClient client = Connect({.input = [&](Stream& stream, std::string_view input) -> size_t {
    ++calls;
    if (input.size() < kSize) {
      stream.WantInput(kSize);
      return 0;
    }
    got = input;
    return input.size();
  }});
  const std::string request = Numbered(kSize);
  size_t sent = 0;
  loop_.RunUntil([&] {
    if (sent < kSize) sent += client.SendSome(std::string_view(request).substr(sent));
    return !got.empty();
  });
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(got == request);
}

TEST_F(StreamTest, KeepsTheOrderOfBigAndSmallWritesToASlowReader) {
  std::string expected;
  int drained = 0;
  TestClient client = Connect({.input =
                                   [&](Stream& stream, std::string_view input) {
                                     for (int i = 0; i < 40; ++i) {
                                       const std::string small = std::to_string(i) + ":";
                                       const std::string big = Numbered(150'000);
                                       EXPECT_TRUE(stream.Write(small).ok());
                                       EXPECT_TRUE(stream.Write(big).ok());
                                       expected += small + big;
                                     }
                                     return input.size();
                                   },
                               .drained = [&](Stream&) { ++drained; }},
                              4096);
  client.Send("go");
  loop_.RunUntil([&] { return !expected.empty(); });
  EXPECT_GT(stream().pending_output(), 0u);
  EXPECT_EQ(drained, 0);
  loop_.RunUntil([&] {
    client.ReadSome(100'000);
    return client.received().size() >= expected.size();
  });
  EXPECT_TRUE(client.received() == expected);
  loop_.RunUntil([&] { return drained == 1; });
  EXPECT_EQ(stream().pending_output(), 0u);
}

TEST_F(StreamTest, SendsWhatIsWrittenOutsideOfItsOwnCallbacks) {
  TestClient client = Connect({});
  loop_.executor().Post([&] { EXPECT_TRUE(stream().Write("news").ok()); });
  loop_.RunUntil([&] { return client.Has("news"); });
}

TEST_F(StreamTest, GreetsOnce) {
  TestClient client = Connect({.open = [](Stream& s) { s.Write("welcome\n").IgnoreError(); }});
  client.Send("x");
  loop_.RunUntil([&] { return client.Has("welcome\nx"); });
}

TEST_F(StreamTest, LeavesInputInTheKernelWhilePausedAndOffersWhatIsUnreadOnResume) {
  int calls = 0;
  TestClient client = Connect({.input = [&](Stream& stream, std::string_view input) -> size_t {
    ++calls;
    if (calls == 1) {
      stream.PauseReading();
      return 2;  // of "abcd"
    }
    stream.Write(input).IgnoreError();
    return input.size();
  }});
  client.Send("abcd");
  loop_.RunUntil([&] { return calls == 1; });
  client.Send("ef");
  loop_.RunReady();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(stream().unread(), "cd");
  EXPECT_TRUE(stream().reading_paused());
  loop_.executor().Post([&] {
    stream().ResumeReading();
    EXPECT_EQ(calls, 1) << "a handler was called from inside a call of the stream";
  });
  loop_.RunUntil([&] { return client.Has("cdef"); });
  EXPECT_EQ(calls, 3);
}

TEST_F(StreamTest, ClosesWhenThePeerHasEndedAndEverythingIsSent) {
  bool closed = false;
  const std::string reply = Numbered(5 << 20);
  TestClient client = Connect({.input =
                                   [&](Stream& stream, std::string_view input) {
                                     stream.Write(reply).IgnoreError();
                                     return input.size();
                                   },
                               .close = [&](Stream&) { closed = true; }},
                              4096);
  client.Send("request");
  client.ShutdownWrite();
  loop_.RunUntil([&] { return client.Ended(); });
  EXPECT_TRUE(client.received() == reply);
  loop_.RunUntil([&] { return closed; });
  EXPECT_EQ(server_->size(), 0u);
}

TEST_F(StreamTest, GoesOnAfterThePeersEndIfTheHandlerWants) {
  bool ended = false;
  TestClient client = Connect({.end = [&](Stream&) { ended = true; }});
  client.ShutdownWrite();
  loop_.RunUntil([&] { return ended; });
  loop_.RunReady();
  EXPECT_TRUE(stream().ended());
  EXPECT_TRUE(stream().Write("late").ok());
  loop_.RunUntil([&] { return client.Has("late"); });
  // Both directions have ended: there is nothing left to do.
  stream().ShutdownWrite();
  loop_.RunUntil([&] { return server_->size() == 0; });
}

TEST_F(StreamTest, HalfClosesAfterItsOutputAndStillReads) {
  std::string got;
  TestClient client = Connect({.input =
                                   [&](Stream& stream, std::string_view input) {
                                     got += input;
                                     if (got == "bye") {
                                       stream.Write("last words").IgnoreError();
                                       stream.ShutdownWrite();
                                       EXPECT_FALSE(stream.Write("more").ok());
                                     }
                                     return input.size();
                                   },
                               .end = [](Stream& s) { s.Close(); }});
  client.Send("bye");
  loop_.RunUntil([&] { return client.Ended(); });
  EXPECT_EQ(client.received(), "last words");
  client.Send("!");
  loop_.RunUntil([&] { return got == "bye!"; });
}

TEST_F(StreamTest, DoesNotCutItsLastReplyOffWhenThePeerSentMoreThanIsRead) {
  TestClient client = Connect({.input = [](Stream& stream, std::string_view) -> size_t {
    stream.Write("goodbye").IgnoreError();
    stream.CloseAfterFlush();
    return 4;
  }});
  // With unread input in the kernel, close() would reset the connection and might drop the reply.
  client.Send("quit" + std::string(100'000, 'x'));
  loop_.RunUntil([&] { return server_->size() == 0; });
  client.ReadSome();
  EXPECT_EQ(client.received(), "goodbye");
}

TEST_F(StreamTest, IsClosedFromInsideItsHandlerButReportedOutside) {
  int closes = 0;
  TestClient client =
      Connect({.input =
                   [&](Stream& stream, std::string_view input) {
                     stream.Close();
                     EXPECT_EQ(closes, 0);
                     EXPECT_EQ(stream.fd(), -1);
                     EXPECT_EQ(stream.Write("x").code(), absl::StatusCode::kFailedPrecondition);
                     EXPECT_EQ(input, "request");  // still there
                     return input.size();
                   },
               .close = [&](Stream&) { ++closes; }});
  client.Send("request");
  loop_.RunUntil([&] { return closes == 1 && client.EndedOrReset(); });
}

TEST_F(StreamTest, ReportsAResetConnection) {
  bool closed = false;
  TestClient client = Connect({.close = [&](Stream&) { closed = true; }});
  const linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  client.Close();
  loop_.RunUntil([&] { return closed; });
}

// The peer sends its commands and goes, without waiting for replies. All that the kernel accepted
// is read, though writing fails on the way.
TEST_F(StreamTest, ReadsAllInputOfAPeerThatDoesNotTakeTheReplies) {
  size_t got = 0;
  int failed_writes = 0;
  bool closed = false;
  const std::string path = "/tmp/liveexec-stream-" + std::to_string(getpid());
  StreamServer server({.name = "clients",
                       .loops = {&loop_.executor()},
                       .make_handler = Scripted({.input =
                                                     [&](Stream& stream, std::string_view input) {
                                                       got += input.size();
                                                       failed_writes +=
                                                           stream.Write("reply").ok() ? 0 : 1;
                                                       return input.size();
                                                     },
                                                 .close = [&](Stream&) { closed = true; }})});
  ASSERT_TRUE(server.ListenUnix(path, 0600).ok());
  TestClient client = TestClient::Unix(path);
  const size_t sent = client.SendSome(Numbered(200'000));
  ASSERT_GT(sent, 128u << 10) << "not more than one read takes";
  client.Close();
  server.Activate();
  loop_.RunUntil([&] { return closed; });
  EXPECT_EQ(got, sent);
  EXPECT_GT(failed_writes, 0);
  server.StopListening();
}

TEST_F(StreamTest, ClosesAPeerWhoseUnreadInputExceedsTheLimit) {
  options_.max_unread = 10'000;
  TestClient client = Connect({.input = [](Stream&, std::string_view) { return 0; }});
  client.Send(std::string(10'000, 'x'));
  loop_.RunUntil([&] { return stream().unread().size() == 10'000; });
  client.Send("x");
  loop_.RunUntil([&] { return server_->size() == 0; });
}

// Replies of one iteration share a buffer of the loop, whatever becomes of their streams.
TEST_F(StreamTest, NeverSendsAReplyToAnotherPeer) {
  options_.max_unread = 100;
  TestClient first = Connect({.input = [](Stream& stream, std::string_view input) -> size_t {
    stream.Write("reply to ").IgnoreError();
    stream.Write(input.substr(0, 1)).IgnoreError();
    if (input[0] == 'c') stream.Close();
    return input[0] == 'u' ? 0 : input.size();  // 'u' exceeds the limit
  }});
  const int port = server_->listening()[0].port;
  TestClient closing = TestClient::Tcp("127.0.0.1", port);
  TestClient last = TestClient::Tcp("127.0.0.1", port);
  loop_.RunUntil([&] { return server_->size() == 3; });
  loop_.RunReady();
  first.Send(std::string(200, 'u'));
  closing.Send("c");
  last.Send("n");
  loop_.RunUntil([&] { return server_->size() == 1 && last.Has("reply to n"); });
  EXPECT_TRUE(first.EndedOrReset() && closing.EndedOrReset());
  EXPECT_EQ(closing.received(), "");
}

TEST_F(StreamTest, SendsRepliesOfAllSizesToOneBatchOfRequestsInOrder) {
  std::string expected;
  TestClient client = Connect({.input = [&](Stream& stream, std::string_view input) {
    for (size_t size : {10, 60'000, 20'000, 5, 100'000, 7, 3, 40'000, 1}) {
      const std::string reply = Numbered(size);
      EXPECT_TRUE(stream.Write(reply).ok());
      expected += reply;
    }
    EXPECT_GT(stream.pending_output(), 0u);
    return input.size();
  }});
  client.Send("go");
  loop_.RunUntil([&] { return !expected.empty() && client.Has(expected); });
  loop_.RunReady();
  EXPECT_EQ(stream().pending_output(), 0u);
}

TEST_F(StreamTest, ClosesAPeerThatReadsTooSlowlyIfThereIsALimit) {
  options_.max_pending_output = 1 << 20;
  absl::Status last;
  TestClient client = Connect({.input =
                                   [&](Stream& stream, std::string_view input) {
                                     for (int i = 0; i < 10'000 && last.ok(); ++i) {
                                       last = stream.Write(std::string(10'000, 'x'));
                                     }
                                     return input.size();
                                   }},
                              4096);
  client.Send("go");
  loop_.RunUntil([&] { return server_->size() == 0; });
  EXPECT_EQ(last.code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(StreamTest, KnowsItsPeer) {
  TestClient client = Connect({});
  EXPECT_THAT(stream().peer_name(), StartsWith("127.0.0.1:"));
  auto own = SocketAddress::Local(client.fd());
  EXPECT_EQ(stream().peer_name(), own->ToString());
}

TEST_F(StreamTest, MakesNoRequestsOfLibuvThatAnUpgradeWouldWaitFor) {
  TestClient client = Connect({}, 4096);
  EXPECT_TRUE(stream().Write(Numbered(5 << 20)).ok());
  loop_.RunReady();
  EXPECT_GT(stream().pending_output(), 0u);
  EXPECT_EQ(loop_.executor().OperationsInFlight(), 0);
}

TEST_F(StreamTest, WritesFromOnDrainedDoNotKeepOtherStreamsWaiting) {
  bool other = false;
  uint64_t written = 0;
  TestClient client = Connect({.input =
                                   [&](Stream& stream, std::string_view input) {
                                     stream.Write("start").IgnoreError();
                                     return input.size();
                                   },
                               .drained =
                                   [&](Stream& stream) {
                                     ++written;
                                     stream.Write("x").IgnoreError();
                                     if (written == 3) {
                                       stream.executor().Post([&] { other = true; });
                                     }
                                   }});
  client.Send("go");
  loop_.RunUntil([&] {
    client.ReadSome();
    return other;
  });
}

}  // namespace
}  // namespace liveexec::uv
