#include "handoff/uv/stream_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "handoff/uv/loop_threads.h"
#include "handoff/uv/testing/fd_limit.h"
#include "handoff/uv/testing/parked.h"
#include "handoff/uv/testing/scripted_handler.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::FakeUpgrader;
using testing::FdLimit;
using testing::Script;
using testing::Scripted;
using testing::TestClient;
using testing::TestLoop;

std::unique_ptr<StreamServer> MakeServer(std::vector<LoopExecutor*> loops, Script script = {}) {
  return std::make_unique<StreamServer>(StreamServerOptions{
      .name = "clients", .loops = std::move(loops), .make_handler = Scripted(std::move(script))});
}

// A directory in /tmp: the path of a UNIX socket is short.
class TemporaryDirectory {
 public:
  TemporaryDirectory() { path_ = mkdtemp(pattern_); }
  ~TemporaryDirectory() {
    unlink(File("s").c_str());
    rmdir(path_.c_str());
  }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  char pattern_[32] = "/tmp/liveexec-XXXXXX";
  std::string path_;
};

TEST(StreamServer, ListensOnIpv4Ipv6AndUnixSockets) {
  TestLoop loop;
  TemporaryDirectory directory;
  auto server = MakeServer({&loop.executor()});
  auto v4 = server->ListenTcp("127.0.0.1", 0);
  auto v6 = server->ListenTcp("::1", 0);
  ASSERT_TRUE(v4.ok() && v6.ok()) << v4.status() << v6.status();
  ASSERT_TRUE(server->ListenUnix(directory.File("s"), 0600).ok());
  server->Activate();
  TestClient clients[] = {TestClient::Tcp("127.0.0.1", *v4), TestClient::Tcp("::1", *v6),
                          TestClient::Unix(directory.File("s"))};
  for (TestClient& client : clients) {
    client.Send("ping");
    loop.RunUntil([&] { return client.Has("ping"); });
  }
  const auto listening = server->listening();
  ASSERT_EQ(listening.size(), 3u);
  EXPECT_EQ(listening[0].host, "127.0.0.1");
  EXPECT_EQ(listening[0].port, *v4);
  EXPECT_EQ(listening[1].host, "::1");
  EXPECT_EQ(listening[2].path, directory.File("s"));
  std::set<uint32_t> listeners;
  server->ForEach([&](Stream& stream, StreamHandler&) { listeners.insert(stream.listener()); });
  EXPECT_EQ(listeners, (std::set<uint32_t>{0, 1, 2}));
}

TEST(StreamServer, TellsThatAnAddressIsInUse) {
  TestLoop loop;
  auto server = MakeServer({&loop.executor()});
  auto port = server->ListenTcp("127.0.0.1", 0);
  EXPECT_EQ(server->ListenTcp("127.0.0.1", *port).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(server->ListenTcp("no-such-host.invalid", 0).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(server->listening().size(), 1u);
}

TEST(StreamServer, ReplacesADeadUnixSocketButNotALiveOneNorAFile) {
  TestLoop loop;
  TemporaryDirectory directory;
  const std::string path = directory.File("s");
  {
    auto first = MakeServer({&loop.executor()});
    ASSERT_TRUE(first->ListenUnix(path, 0600).ok());
    auto second = MakeServer({&loop.executor()});
    EXPECT_EQ(second->ListenUnix(path, 0600).code(), absl::StatusCode::kAlreadyExists);
  }
  ASSERT_EQ(access(path.c_str(), F_OK), 0) << "only StopListening unlinks";
  auto third = MakeServer({&loop.executor()});
  EXPECT_TRUE(third->ListenUnix(path, 0600).ok());
  third->StopListening();
  EXPECT_NE(access(path.c_str(), F_OK), 0);
  EXPECT_FALSE(third->listening()[0].open);
  fclose(fopen(path.c_str(), "w"));
  EXPECT_EQ(third->ListenUnix(path, 0600).code(), absl::StatusCode::kAlreadyExists);
}

TEST(StreamServer, GivesAUnixSocketItsModeWhateverTheUmask) {
  TestLoop loop;
  TemporaryDirectory directory;
  const std::string path = directory.File("s");
  auto server = MakeServer({&loop.executor()});
  const mode_t before = umask(077);
  const absl::Status status = server->ListenUnix(path, 0660);
  umask(before);
  ASSERT_TRUE(status.ok()) << status;
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
}

TEST(StreamServer, AcceptsNothingBeforeActivate) {
  TestLoop loop;
  auto server = MakeServer({&loop.executor()});
  TestClient client = TestClient::Tcp("127.0.0.1", *server->ListenTcp("127.0.0.1", 0));
  loop.RunReady();
  EXPECT_EQ(server->size(), 0u);
  server->Activate();
  loop.RunUntil([&] { return server->size() == 1; });
}

TEST(StreamServer, ListensOnOneMoreAddressWhileItServes) {
  TestLoop loop;
  auto server = MakeServer({&loop.executor()});
  server->Activate();
  TestClient client = TestClient::Tcp("127.0.0.1", *server->ListenTcp("127.0.0.1", 0));
  client.Send("x");
  loop.RunUntil([&] { return client.Has("x"); });
}

TEST(StreamServer, MayStopListeningInsideAHandler) {
  TestLoop loop;
  std::unique_ptr<StreamServer> server;
  server = MakeServer({&loop.executor()}, {.open = [&](Stream&) { server->StopListening(); }});
  TestClient client = TestClient::Tcp("127.0.0.1", *server->ListenTcp("127.0.0.1", 0));
  server->Activate();
  client.Send("x");
  loop.RunUntil([&] { return client.Has("x"); });
}

TEST(StreamServer, WaitsWithoutSpinningWhenItIsOutOfFdsAndAcceptsWhenOneIsClosed) {
  TestLoop loop;
  auto server = MakeServer({&loop.executor()});
  const int port = *server->ListenTcp("127.0.0.1", 0);
  server->Activate();
  TestClient first = TestClient::Tcp("127.0.0.1", port);
  loop.RunUntil([&] { return server->size() == 1; });
  TestClient second = TestClient::Tcp("127.0.0.1", port);
  FdLimit limit;
  limit.Leave(0);
  second.Send("x");

  // One failed accept, then nothing: a busy loop would make thousands of iterations in a while.
  uv_timer_t timer;
  bool over = false;
  uv_timer_init(loop.loop(), &timer);
  timer.data = &over;
  uv_timer_start(
      &timer, [](uv_timer_t* t) { *static_cast<bool*>(t->data) = true; }, 200, 0);
  int iterations = 0;
  loop.RunUntil([&] {
    ++iterations;
    return over;
  });
  EXPECT_LT(iterations, 1000);  // the test's own tick makes one a millisecond
  EXPECT_EQ(server->size(), 1u);

  first.Close();  // the server closes its end: that fd serves the second
  loop.RunUntil([&] { return second.Has("x"); });
  uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
  loop.RunReady();
}

TEST(StreamServer, AcceptsAgainWhenTheFdsComeBackFromElsewhere) {
  TestLoop loop;
  auto server = MakeServer({&loop.executor()});
  const int port = *server->ListenTcp("127.0.0.1", 0);
  server->Activate();
  loop.RunReady();
  TestClient client = TestClient::Tcp("127.0.0.1", port);
  client.Send("x");
  FdLimit limit;
  limit.Leave(0);
  loop.RunReady();
  EXPECT_EQ(server->size(), 0u);
  limit.Restore();
  loop.RunUntil([&] { return client.Has("x"); });
}

TEST(StreamServer, ServesAThousandConnections) {
  TestLoop loop;
  auto server = MakeServer({&loop.executor()});
  const int port = *server->ListenTcp("127.0.0.1", 0);
  server->Activate();
  std::vector<TestClient> clients;
  for (int i = 0; i < 1000; ++i) {
    clients.push_back(TestClient::Tcp("127.0.0.1", port));
    if (i % 100 == 0) loop.RunReady();
  }
  for (size_t i = 0; i < clients.size(); ++i) clients[i].Send(std::to_string(i));
  for (size_t i = 0; i < clients.size(); ++i) {
    loop.RunUntil([&] { return clients[i].Has(std::to_string(i)); });
  }
  EXPECT_EQ(server->size(), 1000u);
}

TEST(StreamServer, SpreadsItsConnectionsOverTheLoops) {
  TestLoop loop;
  FakeUpgrader upgrader;
  std::mutex mutex;
  std::set<std::thread::id> threads;
  const absl::Status status =
      WithLoopThreads(upgrader, 3, [&](absl::Span<LoopExecutor* const> others) {
        std::vector<LoopExecutor*> loops = {&loop.executor()};
        loops.insert(loops.end(), others.begin(), others.end());
        auto server = MakeServer(loops, {.input = [&](Stream& stream, std::string_view input) {
                                   std::lock_guard<std::mutex> lock(mutex);
                                   threads.insert(std::this_thread::get_id());
                                   stream.Write(input).IgnoreError();
                                   return input.size();
                                 }});
        const int port = *server->ListenTcp("127.0.0.1", 0);
        server->Activate();
        std::vector<TestClient> clients;
        for (int i = 0; i < 8; ++i) clients.push_back(TestClient::Tcp("127.0.0.1", port));
        for (TestClient& client : clients) {
          client.Send("x");
          loop.RunUntil([&] { return client.Has("x"); });
        }
        EXPECT_EQ(server->size(), 8u);
      });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(threads.size(), 4u);
}

TEST(StreamServer, FindsAConnectionByItsIdOnItsOwnLoopOnly) {
  TestLoop loop;
  TestLoop other;
  auto server = MakeServer({&loop.executor()});
  TestClient client = TestClient::Tcp("127.0.0.1", *server->ListenTcp("127.0.0.1", 0));
  server->Activate();
  loop.RunUntil([&] { return server->size() == 1; });
  uint64_t id = 0;
  server->ForEachOn(loop.executor(), [&](Stream& stream, StreamHandler&) { id = stream.id(); });
  ASSERT_NE(server->Find(loop.executor(), id), nullptr);
  EXPECT_EQ(server->Find(loop.executor(), id + 1), nullptr);
  EXPECT_EQ(server->Find(other.executor(), id), nullptr);
}

TEST(StreamServer, ClosesEveryConnectionWhenItIsDestroyed) {
  TestLoop loop;
  int closes = 0;
  auto server = MakeServer({&loop.executor()}, {.close = [&](Stream&) { ++closes; }});
  TestClient client = TestClient::Tcp("127.0.0.1", *server->ListenTcp("127.0.0.1", 0));
  server->Activate();
  loop.RunUntil([&] { return server->size() == 1; });
  server.reset();
  EXPECT_EQ(closes, 1);
  EXPECT_TRUE(client.EndedOrReset());
}

}  // namespace
}  // namespace liveexec::uv
