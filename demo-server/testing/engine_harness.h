// For tests: an engine with clients that need no connections.
//
//   EngineHarness server;
//   TestClient alice(server);
//   EXPECT_EQ(alice.Call("SET k v"), "+OK\r\n");
#ifndef LIVEEXEC_DEMO_SERVER_TESTING_ENGINE_HARNESS_H_
#define LIVEEXEC_DEMO_SERVER_TESTING_ENGINE_HARNESS_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "demo-server/engine/engine.h"

namespace liveexec::demo {

class EngineHarness final : public EngineHost {
 public:
  explicit EngineHarness(int loops = 1, uint64_t seed = 42);

  Engine& engine() { return *engine_; }

  // What the engine asked for.
  std::vector<int> woken;
  int deadlines_moved = 0;
  int shutdowns = 0;
  std::vector<std::string> upgrades;

  void WakeLoop(int loop) override { woken.push_back(loop); }
  void DeadlineMoved() override { ++deadlines_moved; }
  void RequestShutdown() override { ++shutdowns; }
  void RequestUpgrade(std::string_view binary) override { upgrades.emplace_back(binary); }

 private:
  std::unique_ptr<Engine> engine_;
};

class TestClient final : public SessionOwner {
 public:
  explicit TestClient(EngineHarness& server, int loop = 0);
  // A rehydrated one: `session` is filled by the caller, who then calls Adopt.
  struct Unopened {};
  TestClient(EngineHarness& server, Unopened unopened);
  ~TestClient() override;

  // Makes the engine know a session that was filled from an image.
  void Adopt();
  // Sends bytes; returns what comes back at once. Bytes that are not consumed stay.
  std::string Send(std::string_view bytes);
  // An inline command.
  std::string Call(std::string_view line) { return Send(std::string(line) + "\r\n"); }
  // What others have put into the session since, as its loop would deliver it.
  std::string Receive();
  // Input that the engine has not consumed.
  const std::string& unread() const { return input_; }

  Session session;
  Engine::Output last;  // besides bytes, of the last Send or Receive

 private:
  std::string Process();

  EngineHarness& server_;
  std::string input_;
  bool open_ = false;
};

// `arguments` as a client library sends them.
std::string Encode(const std::vector<std::string>& arguments);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_TESTING_ENGINE_HARNESS_H_
