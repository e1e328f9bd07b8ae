// A server with 300 connections that may be put aside, each with state of its own, for tests of
// what becomes of them. The upgrade is one without exec (carried_state.h).
#ifndef LIVEEXEC_HANDOFF_UV_TESTING_COLD_CONNECTIONS_H_
#define LIVEEXEC_HANDOFF_UV_TESTING_COLD_CONNECTIONS_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "handoff/uv/images.capnp.h"
#include "handoff/uv/stream_server.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv::testing {

// Of all handlers of a test.
struct Counts {
  int cold = 0;
  int closed = 0;
  int loaded = 0;
};

// Answers each byte with how many there have been: so each connection has state of its own.
class Counter final : public StreamHandler {
 public:
  Counter(Counts& counts, bool may_go_cold) : counts_(counts), may_go_cold_(may_go_cold) {}

  size_t OnInput(Stream& stream, std::string_view input) override {
    if (input == "quit") {
      stream.CloseAfterFlush();
    } else {
      seen_ += input.size();
      stream.Write(std::to_string(seen_) + ";").IgnoreError();
    }
    return input.size();
  }
  void OnClose(Stream&) override { ++counts_.closed; }
  absl::Status Save(capnp::AnyPointer::Builder state) const override {
    // Any schema will do.
    state.initAs<image::ColdSet::Batch>().setOffset(seen_);
    return absl::OkStatus();
  }
  absl::Status Load(capnp::AnyPointer::Reader state) override {
    seen_ = state.getAs<image::ColdSet::Batch>().getOffset();
    ++counts_.loaded;
    return absl::OkStatus();
  }
  bool MayGoCold() const override { return may_go_cold_; }
  void OnCold(Stream&) override { ++counts_.cold; }

 private:
  Counts& counts_;
  const bool may_go_cold_;
  uint64_t seen_ = 0;
};

inline size_t OpenFds() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(fds), end(fds)));
}

class ColdConnectionsTest : public ::testing::Test {
 protected:
  // Several batches, the last one not full.
  static constexpr int kClients = 300;

  std::unique_ptr<StreamServer> Make() {
    return std::make_unique<StreamServer>(StreamServerOptions{
        .name = "clients",
        .loops = {&loop_.executor()},
        .make_handler =
            [this](Stream&) { return std::make_unique<Counter>(counts_, may_go_cold_); },
        .cold_threshold = 1,
        .cold_after_ms = 0});
  }

  // Client i has sent i % 5 + 1 bytes.
  void Start() {
    server_ = Make();
    auto port = server_->ListenTcp("127.0.0.1", 0);
    ASSERT_TRUE(port.ok()) << port.status();
    port_ = *port;
    server_->Activate();
    for (int i = 0; i < kClients; ++i) clients_.push_back(TestClient::Tcp("127.0.0.1", *port));
    for (int i = 0; i < kClients; ++i) {
      clients_[i].Send(std::string(i % 5 + 1, 'x'));
      loop_.RunUntil([&] { return clients_[i].Has(std::to_string(i % 5 + 1) + ";"); });
      clients_[i].ForgetReceived();
    }
    loop_.RunReady();
  }

  void Precopy() {
    bool done = false;
    server_->Precopy(Successor(), [&](const absl::Status&) { done = true; });
    loop_.RunUntil([&] { return done; });
  }

  CarriedState Export() {
    auto state = CarriedState::Of(*server_);
    EXPECT_TRUE(state.ok()) << state.status();
    return *std::move(state);
  }

  void Rehydrate() {
    ASSERT_TRUE(server_->Quiesce().ok());
    CarriedState state = Export();
    server_ = Make();
    counts_.closed = 0;  // the old object's end; a program has no such
    const absl::Status status = state.RehydrateInto(*server_);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(state.fds_left(), 0u);
  }

  // Each client is answered, once, by a handler that knows what came before.
  void ExpectAllServed(int more = 1) {
    for (TestClient& client : clients_) client.Send("y");
    for (int i = 0; i < kClients; ++i) {
      loop_.RunUntil([&] { return clients_[i].Has(std::to_string(i % 5 + 1 + more) + ";"); });
      clients_[i].ForgetReceived();
    }
    EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
    EXPECT_EQ(counts_.closed, 0);
  }

  // Whether the client is answered by a handler that knows what came before: as ExpectAllServed,
  // but whatever else the server does.
  bool IsServed(int i, int more = 1) {
    clients_[i].Send("y");
    const bool answered =
        loop_.RunUntil([&] { return clients_[i].Has(std::to_string(i % 5 + 1 + more) + ";"); });
    clients_[i].ForgetReceived();
    return answered;
  }

  TestLoop loop_;
  Counts counts_;
  int port_ = 0;
  bool may_go_cold_ = true;
  std::unique_ptr<StreamServer> server_;
  std::vector<TestClient> clients_;
};

}  // namespace liveexec::uv::testing

#endif  // LIVEEXEC_HANDOFF_UV_TESTING_COLD_CONNECTIONS_H_
