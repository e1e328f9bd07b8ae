// Several loop threads on one engine. What ThreadSanitizer finds here is found for good.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/engine.h"

namespace liveexec::demo {
namespace {

constexpr int kLoops = 4;

// The loops of this test need no waking: they look for themselves.
class Host final : public EngineHost {
 public:
  void WakeLoop(int /*loop*/) override {}
  void DeadlineMoved() override {}
  void RequestShutdown() override {}
  void RequestUpgrade(std::string_view /*binary*/) override {}
};

class ThreadsTest : public testing::Test {
 protected:
  ThreadsTest() {
    EngineOptions options;
    options.seed = 1;
    options.loops = kLoops;
    options.commands = AllCommands();
    engine_ = std::make_unique<Engine>(options, &host_);
  }

  // Runs body(loop) in a thread for each loop.
  template <typename Body>
  void OnEveryLoop(Body body) {
    std::vector<std::thread> threads;
    for (int loop = 0; loop < kLoops; ++loop) threads.emplace_back([=] { body(loop); });
    for (std::thread& thread : threads) thread.join();
  }

  // What a loop does when it is woken; appends what came for `session` to `received`.
  void Deliver(Session& session, std::string& received) {
    std::string output;
    while (Session* pending = engine_->TakePending(session.loop)) {
      engine_->TakeOutput(*pending, output);
      if (pending == &session) received += output;
    }
  }

  void Open(Session& session, int loop) {
    session.loop = loop;
    engine_->Open(session);
  }

  Host host_;
  std::unique_ptr<Engine> engine_;
};

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

TEST_F(ThreadsTest, EveryElementPushedIsPoppedOnce) {
  constexpr int kEach = 2000;
  std::atomic<int> popped{0};
  OnEveryLoop([&](int loop) {
    Session pusher;
    Session popper;
    Open(pusher, loop);
    Open(popper, loop);
    std::string output;
    for (int i = 0; i < kEach; ++i) engine_->Process(pusher, "RPUSH q x\r\n", output);
    int mine = 0;
    // Every one takes as many as it has pushed, so that all end.
    while (mine < kEach) {
      bool waiting = false;
      {
        std::lock_guard lock(engine_->mutex());
        waiting = popper.is_blocked();
      }
      output.clear();
      if (!waiting) engine_->Process(popper, "BLPOP q 0\r\n", output);
      std::string received = output;
      Deliver(popper, received);
      mine += static_cast<int>(Count(received, "$1\r\nx\r\n"));
    }
    popped += mine;
    engine_->Close(pusher);
    engine_->Close(popper);
  });
  EXPECT_EQ(popped, kLoops * kEach);
}

TEST_F(ThreadsTest, MessagesOfOnePublisherArriveInOrder) {
  constexpr int kEach = 500;
  std::atomic<int> subscribed{0};
  OnEveryLoop([&](int loop) {
    Session session;
    Open(session, loop);
    std::string output;
    engine_->Process(session, "HELLO 3\r\nSUBSCRIBE all\r\n", output);
    ++subscribed;
    while (subscribed < kLoops) std::this_thread::yield();
    std::string received;
    for (int i = 0; i < kEach; ++i) {
      const std::string message = std::to_string(loop) + ":" + std::to_string(i);
      engine_->Process(session, "PUBLISH all m" + message + ".\r\n", output);
      received += output;
      Deliver(session, received);
    }
    while (Count(received, "message\r\n") < static_cast<size_t>(kLoops) * kEach) {
      engine_->TakeOutput(session, output);
      received += output;
    }
    for (int publisher = 0; publisher < kLoops; ++publisher) {
      size_t at = 0;
      for (int i = 0; i < kEach; ++i) {
        const std::string message = "m" + std::to_string(publisher) + ":" + std::to_string(i) + ".";
        at = received.find(message, at);
        ASSERT_NE(at, std::string::npos) << message << " on loop " << loop;
      }
    }
    engine_->Close(session);
  });
}

}  // namespace
}  // namespace liveexec::demo
