// A StreamServer with listeners and clients of a test's own, and an upgrade of it without exec
// (carried_state.h); the same with processes is in tests/e2e.
#ifndef LIVEEXEC_HANDOFF_UV_TESTING_STREAM_SERVER_UPGRADE_H_
#define LIVEEXEC_HANDOFF_UV_TESTING_STREAM_SERVER_UPGRADE_H_

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "handoff/uv/stream_server.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/scripted_handler.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv::testing {

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

}  // namespace liveexec::uv::testing

#endif  // LIVEEXEC_HANDOFF_UV_TESTING_STREAM_SERVER_UPGRADE_H_
