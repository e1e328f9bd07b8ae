#include "handoff/uv/loop_threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "handoff/crew.h"
#include "handoff/uv/stream_server.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/parked.h"
#include "handoff/uv/testing/scripted_handler.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using testing::EchoLines;
using testing::FakeUpgrader;
using testing::Parked;
using testing::Scripted;
using testing::TestClient;
using testing::TestLoop;

using Executors = absl::Span<LoopExecutor* const>;

TEST(WithLoopThreads, RunsEachLoopInAThreadOfItsOwnForAsLongAsTheBody) {
  TestLoop loop;
  FakeUpgrader upgrader;
  std::mutex mutex;
  std::set<std::thread::id> threads;
  const absl::Status status = WithLoopThreads(upgrader, 3, [&](Executors executors) {
    EXPECT_EQ(upgrader.threads().size(), 3u);
    for (LoopExecutor* executor : executors) {
      EXPECT_TRUE(upgrader.threads().contains(executor));
      executor->Post([&] {
        std::lock_guard<std::mutex> lock(mutex);
        threads.insert(std::this_thread::get_id());
      });
    }
    loop.RunUntil([&] {
      std::lock_guard<std::mutex> lock(mutex);
      return threads.size() == 3;
    });
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(threads.contains(std::this_thread::get_id()));
  EXPECT_TRUE(upgrader.threads().empty());
}

TEST(WithLoopThreads, RunsTheBodyWithoutAnyThreadToo) {
  FakeUpgrader upgrader;
  bool ran = false;
  EXPECT_TRUE(
      WithLoopThreads(upgrader, 0, [&](Executors executors) { ran = executors.empty(); }).ok());
  EXPECT_TRUE(ran);
  EXPECT_EQ(WithLoopThreads(upgrader, -1, [](Executors) {}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(WithLoopThreads, BlocksAllSignalsInItsThreads) {
  TestLoop loop;
  FakeUpgrader upgrader;
  std::atomic<int> unblocked{-1};
  ASSERT_TRUE(WithLoopThreads(upgrader, 1, [&](Executors executors) {
                executors[0]->Post([&] {
                  sigset_t mask;
                  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
                  unblocked =
                      (sigismember(&mask, SIGTERM) ? 0 : 1) + (sigismember(&mask, SIGCHLD) ? 0 : 1);
                });
                loop.RunUntil([&] { return unblocked >= 0; });
              }).ok());
  EXPECT_EQ(unblocked, 0);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_FALSE(sigismember(&mask, SIGTERM)) << "the caller's mask is its own again";
}

TEST(WithCrew, JoinsItsThreadsAlsoWhenTheBodyThrows) {
  FakeUpgrader upgrader;
  EXPECT_THROW(WithLoopThreads(upgrader, 2, [](Executors) { throw 17; }).IgnoreError(), int);
  EXPECT_TRUE(upgrader.threads().empty());
}

// A message from one loop to another that has stopped already: an upgrade must not lose it.
TEST(LoopThreads, RunWhatWasPostedToThemAfterTheyStopped) {
  FakeUpgrader upgrader;
  int first = 0;
  int second = 0;
  ASSERT_TRUE(WithLoopThreads(upgrader, 2, [&](Executors executors) {
                Parked parked({executors.begin(), executors.end()});
                EXPECT_FALSE(parked.RunPosted());
                executors[0]->Post([&, other = executors[1]] {
                  ++first;
                  other->Post([&] { ++second; });
                });
                while (parked.RunPosted()) {
                }
                EXPECT_EQ(first, 1);
                EXPECT_EQ(second, 1);
              }).ok());
}

class LoopsTest : public ::testing::Test {
 protected:
  static std::unique_ptr<StreamServer> Make(LoopExecutor& main, Executors others) {
    std::vector<LoopExecutor*> loops = {&main};
    loops.insert(loops.end(), others.begin(), others.end());
    return std::make_unique<StreamServer>(
        StreamServerOptions{.name = "clients",
                            .loops = std::move(loops),
                            .make_handler = Scripted({.input = EchoLines})});
  }

  // Stops `others`, and takes the state as an upgrade would. They stay stopped: like the old
  // program's threads, they never run again while `next` does.
  void Carry(StreamServer& server, Executors others, absl::FunctionRef<void(CarriedState&)> next) {
    Parked parked({others.begin(), others.end()});
    while (parked.RunPosted()) {
    }
    ASSERT_TRUE(server.Quiesce().ok());
    auto state = CarriedState::Of(server);
    ASSERT_TRUE(state.ok()) << state.status();
    next(*state);
  }

  // Serves in `threads` further threads from `state`, with all clients in the middle of a line;
  // then hands on.
  void Generation(CarriedState* state, std::vector<int> threads) {
    if (threads.empty()) return;
    TestLoop loop;
    FakeUpgrader upgrader;
    const int own = threads.front();
    threads.erase(threads.begin());
    const absl::Status status = WithLoopThreads(upgrader, own, [&](Executors others) {
      auto server = Make(loop.executor(), others);
      if (state == nullptr) {
        port_ = *server->ListenTcp("127.0.0.1", 0);
      } else {
        Parked parked({others.begin(), others.end()});
        const absl::Status rehydrated = state->RehydrateInto(*server);
        ASSERT_TRUE(rehydrated.ok()) << rehydrated;
      }
      server->Activate();
      if (state == nullptr) ConnectAll(loop, *server);
      EXPECT_EQ(server->size(), clients_.size());
      ServeRound(loop);
      Carry(*server, others, [&](CarriedState& next) { Generation(&next, threads); });
    });
    EXPECT_TRUE(status.ok()) << status;
  }

  void ConnectAll(TestLoop& loop, StreamServer& server) {
    for (int i = 0; i < 64; ++i) {
      clients_.push_back(TestClient::Tcp("127.0.0.1", port_));
      clients_.back().Send("begun before, ");
    }
    loop.RunUntil([&] { return server.size() == clients_.size(); });
  }

  // Ends each client's line, reads it back, and begins another.
  void ServeRound(TestLoop& loop) {
    for (size_t i = 0; i < clients_.size(); ++i) clients_[i].Send(std::to_string(i) + "\nbegun ");
    for (size_t i = 0; i < clients_.size(); ++i) {
      const std::string expected =
          (round_ == 0 ? "begun before, " : "begun ") + std::to_string(i) + "\n";
      EXPECT_TRUE(loop.RunUntil([&] { return clients_[i].Has(expected); })) << expected;
      clients_[i].ForgetReceived();
    }
    ++round_;
  }

  int port_ = 0;
  int round_ = 0;
  std::vector<TestClient> clients_;
};

TEST_F(LoopsTest, CarryTheirConnectionsToFewerAndToMoreThreads) {
  Generation(nullptr, {3, 0, 2, 2});
  EXPECT_EQ(round_, 4);
}

TEST_F(LoopsTest, GoOnWhenTheUpgradeIsAbandoned) {
  TestLoop loop;
  FakeUpgrader upgrader;
  ASSERT_TRUE(WithLoopThreads(upgrader, 3, [&](Executors others) {
                auto server = Make(loop.executor(), others);
                port_ = *server->ListenTcp("127.0.0.1", 0);
                server->Activate();
                ConnectAll(loop, *server);
                for (int i = 0; i < 20; ++i) {
                  Carry(*server, others, [&](CarriedState&) { server->Resume(); });
                  ServeRound(loop);
                }
              }).ok());
}

// The loops that are to adopt stop before they can: what was accepted for them is carried.
TEST_F(LoopsTest, LoseNoConnectionThatWasAcceptedForAStoppedLoop) {
  TestLoop loop;
  FakeUpgrader upgrader;
  ASSERT_TRUE(WithLoopThreads(upgrader, 3, [&](Executors others) {
                auto server = Make(loop.executor(), others);
                port_ = *server->ListenTcp("127.0.0.1", 0);
                server->Activate();
                Parked parked({others.begin(), others.end()});
                ConnectAll(loop, *server);
                ASSERT_TRUE(server->Quiesce().ok());
                auto state = CarriedState::Of(*server);
                ASSERT_TRUE(state.ok()) << state.status();
                Generation(&*state, {1});
              }).ok());
  EXPECT_EQ(round_, 1);
}

}  // namespace
}  // namespace liveexec::uv
