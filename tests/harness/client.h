// Client: one simulated client of the server under test. What all kinds have in common.
//
// A client belongs to its loop's thread. Its life: Start; any number of events; Stop (no new
// requests); wait until settled(); Report.
#ifndef LIVEEXEC_TESTS_HARNESS_CLIENT_H_
#define LIVEEXEC_TESTS_HARNESS_CLIENT_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/harness/byte_continuity.h"
#include "tests/harness/connection.h"
#include "tests/harness/event_loop.h"
#include "tests/harness/measure.h"

namespace liveexec::harness {

// What one client saw.
struct ClientReport {
  std::string client;  // "checking client 7 (127.0.0.1:51234)"
  uint64_t requests = 0;
  uint64_t failed = 0;     // requests without their whole, right reply
  bool connected = false;  // still, and over the socket that it began with
  ContinuityResult bytes;
  std::vector<std::string> problems;  // sentences: what, where; empty when all is well
  bool ok() const { return problems.empty(); }
};

class Client : public ConnectionObserver {
 public:
  // `loop` is borrowed and must outlive the client.
  Client(EventLoop& loop, std::string name) : loop_(loop), name_(std::move(name)) {}

  absl::Status Connect(const Endpoint& endpoint, const DialOptions& options = {});

  virtual void Start() {}
  virtual void Stop() {}
  // Whether everything that was asked has been answered, or never will be: the connection is gone,
  // or what came is not what was expected.
  bool settled() const { return broken() || check_.complete(); }
  bool broken() const { return !connection_->open() || !check_.intact(); }

  // Last call.
  virtual ClientReport Report();

  GapRecorder& gaps() { return gaps_; }
  const LogHistogram& latencies() const { return latencies_; }
  uint64_t replies() const { return replies_; }
  Connection& connection() { return *connection_; }

  void OnBytes(std::string_view bytes) override;
  void OnClosed(const absl::Status& reason) override;

 protected:
  // Sends `request`, whose reply is to be exactly `reply`.
  void Request(std::string_view request, std::string_view reply);
  size_t outstanding() const { return outstanding_.size(); }
  // After any number of replies have come.
  virtual void OnReplies() {}

  EventLoop& loop_;
  ByteContinuity check_;
  uint64_t requests_ = 0;

 private:
  struct Outstanding {
    uint64_t reply_end;  // position in the stream of replies
    int64_t sent_ns;
  };

  std::string name_;
  std::unique_ptr<Connection> connection_;
  std::deque<Outstanding> outstanding_;
  uint64_t replies_ = 0;
  GapRecorder gaps_;
  LogHistogram latencies_;
  std::vector<std::string> problems_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_CLIENT_H_
