// How a Stream's two directions end, and what becomes of replies when their server ends or stands
// still.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include <memory>
#include <string>

#include "handoff/uv/stream.h"
#include "handoff/uv/stream_server.h"
#include "handoff/uv/testing/scripted_handler.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::Script;
using testing::Scripted;
using testing::TestClient;
using testing::TestLoop;

class StreamEndTest : public ::testing::Test {
 protected:
  StreamEndTest() { EXPECT_NE(mkdtemp(directory_), nullptr); }
  ~StreamEndTest() override {
    unlink(Path().c_str());
    rmdir(directory_);
  }

  std::string Path() const { return std::string(directory_) + "/s"; }

  // A server with `script`, and a client of it.
  TestClient Connect(Script script) {
    server_ = std::make_unique<StreamServer>(StreamServerOptions{
        .name = "clients", .loops = {&loop_.executor()}, .make_handler = Scripted(script)});
    const absl::Status status = server_->ListenUnix(Path(), 0600);
    EXPECT_TRUE(status.ok()) << status;
    server_->Activate();
    TestClient client = TestClient::Unix(Path());
    loop_.RunUntil([&] { return server_->size() == 1; });
    loop_.RunReady();
    return client;
  }

  // One whose request has been answered in an iteration of the loop that was the last one.
  TestClient ConnectAndAnswerLast(const std::string& request) {
    TestClient client = Connect({.input = [this](Stream& stream, std::string_view) {
      EXPECT_TRUE(stream.Write("answer").ok());
      uv_stop(loop_.loop());
      return size_t{4};
    }});
    client.Send(request);
    uv_run(loop_.loop(), UV_RUN_DEFAULT);
    return client;
  }

  char directory_[32] = "/tmp/liveexec-XXXXXX";
  TestLoop loop_;
  std::unique_ptr<StreamServer> server_;
};

TEST_F(StreamEndTest, ThePeersEndIsReportedAfterOurOwn) {
  int ends = 0, closes = 0;
  TestClient client = Connect({.input =
                                   [](Stream& stream, std::string_view input) {
                                     stream.Write("last words").IgnoreError();
                                     stream.ShutdownWrite();
                                     return input.size();
                                   },
                               .end = [&](Stream&) { ++ends; },
                               .close = [&](Stream&) { closes += ends; }});
  client.Send("bye");
  loop_.RunUntil([&] { return client.Ended(); });
  EXPECT_EQ(client.received(), "last words");
  EXPECT_EQ(ends, 0);
  client.ShutdownWrite();
  // Nobody has to close a stream that has ended both ways.
  loop_.RunUntil([&] { return server_->size() == 0; });
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(closes, 1) << "OnEnd comes before OnClose";
}

TEST_F(StreamEndTest, ThePeersEndIsReportedWhenItTakesNoOutputAnyMore) {
  std::string got;
  int ends = 0;
  TestClient client = Connect({.input =
                                   [&](Stream& stream, std::string_view input) {
                                     got += input;
                                     stream.Write("nobody reads this").IgnoreError();
                                     return input.size();
                                   },
                               .end =
                                   [&](Stream& stream) {
                                     ++ends;
                                     EXPECT_FALSE(stream.closed());
                                   }});
  client.Send("parting");
  client.Close();
  loop_.RunUntil([&] { return server_->size() == 0; });
  EXPECT_EQ(got, "parting");
  EXPECT_EQ(ends, 1);
}

TEST_F(StreamEndTest, AStreamThatItsHandlerClosesAtThePeersEndIsClosedOnce) {
  int closes = 0;
  TestClient client = Connect({.input =
                                   [](Stream& stream, std::string_view input) {
                                     stream.ShutdownWrite();
                                     return input.size();
                                   },
                               .end = [](Stream& stream) { stream.Close(); },
                               .close = [&](Stream&) { ++closes; }});
  client.Send("bye");
  loop_.RunUntil([&] { return client.Ended(); });
  client.ShutdownWrite();
  loop_.RunUntil([&] { return server_->size() == 0; });
  EXPECT_EQ(closes, 1);
}

TEST_F(StreamEndTest, ARequestIsAnsweredAlthoughTheLoopStopsWithIt) {
  TestClient client = ConnectAndAnswerLast("stop");
  server_.reset();
  EXPECT_TRUE(client.Ended());
  EXPECT_EQ(client.received(), "answer");
}

// With unread input in the kernel close() would reset the connection.
TEST_F(StreamEndTest, ThatAnswerIsNotCutOffByWhatThePeerSentBesides) {
  TestClient client = ConnectAndAnswerLast("stop" + std::string(100'000, 'x'));
  server_.reset();
  EXPECT_TRUE(client.Ended());
  EXPECT_EQ(client.received(), "answer");
}

TEST_F(StreamEndTest, AnAnswerDoesNotWaitForTheBlackoutToEnd) {
  TestClient client = ConnectAndAnswerLast("wait");
  ASSERT_TRUE(server_->Quiesce().ok());
  EXPECT_TRUE(client.Has("answer"));
  server_->Resume();
}

TEST_F(StreamEndTest, AnAnswerDoesNotWaitForALoopThatStandsStill) {
  TestClient client = ConnectAndAnswerLast("wait");
  loop_.executor().BeforeStandstill();
  EXPECT_TRUE(client.Has("answer"));
  server_.reset();
  loop_.executor().BeforeStandstill();  // nothing of the server is called any more
}

}  // namespace
}  // namespace liveexec::uv
