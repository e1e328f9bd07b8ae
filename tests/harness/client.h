// Client: one simulated client of the server under test. What all kinds have in common.
//
// A client belongs to its loop's thread. Its life: Start; any number of events; Stop (no new
// requests); wait until settled(); Report.
#ifndef LIVEEXEC_TESTS_HARNESS_CLIENT_H_
#define LIVEEXEC_TESTS_HARNESS_CLIENT_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/harness/byte_continuity.h"
#include "tests/harness/connection.h"
#include "tests/harness/event_loop.h"
#include "tests/harness/measure.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {

// What one client saw.
struct ClientReport {
  std::string client;  // "checking client 7 (127.0.0.1:51234)"
  uint64_t requests = 0;
  uint64_t failed = 0;     // requests without their whole, right reply
  bool connected = false;  // still, and over the socket that it began with
  ContinuityResult bytes;
  std::vector<std::string> problems;  // sentences: what, where; empty when all is well
  std::vector<Anomaly> anomalies;     // the same, named, with the time at which they showed
  bool ok() const { return problems.empty(); }
};

class Client : public ConnectionObserver {
 public:
  // `loop` is borrowed and must outlive the client.
  Client(EventLoop& loop, std::string name) : loop_(loop), name_(std::move(name)) {}

  virtual absl::Status Connect(const Endpoint& endpoint, const DialOptions& options = {});

  virtual void Start() {}
  virtual void Stop() {}
  // Asks for something, to whose answer settled() waits: for clients that are otherwise idle.
  virtual void Prove() {}
  // It has done all that it came for, and its seat is free for another: see load.h.
  virtual bool finished() const { return false; }
  // Whether everything that was asked has been answered, or never will be: the connection is gone,
  // or what came is not what was expected.
  virtual bool settled() const { return broken() || check_.complete(); }
  virtual bool broken() const { return !connection_->open() || !check_.intact(); }
  // Still, and over the socket that it began with.
  virtual bool connected() const { return connection_->SameSocket(); }

  // Last call.
  virtual ClientReport Report();

  // Hears of each reply as it comes: when, and how long it took.
  using OnReply = std::function<void(int64_t now_ns, int64_t latency_ns)>;
  void WatchReplies(OnReply on_reply) { on_reply_ = std::move(on_reply); }

  const std::string& name() const { return name_; }
  GapRecorder& gaps() { return gaps_; }
  const LogHistogram& latencies() const { return latencies_; }
  uint64_t replies() const { return replies_; }
  // Its end of the connection: "127.0.0.1:51234".
  const std::string& local_name() const { return local_name_; }
  // Of a client of a stream.
  Connection& connection() { return *connection_; }

  void OnBytes(std::string_view bytes) override;
  void OnClosed(const absl::Status& reason) override;

 protected:
  // Sends `request`, whose reply is to be exactly `reply`.
  void Request(std::string_view request, std::string_view reply);
  size_t outstanding() const { return outstanding_.size(); }
  // After any number of replies have come.
  virtual void OnReplies() {}
  // For clients that parse replies themselves: one came, to what was sent at `sent_ns`.
  void CountReply(int64_t sent_ns);
  // For those as well: something is wrong. The connection is of no more use.
  void Complain(Verdict verdict, std::string text);
  bool complained() const { return !complaints_.empty(); }
  // The server closed the connection, and may: the client asked for it.
  void ExpectClose() { close_expected_ = true; }
  bool closed_by_server() const { return closed_at_ns_ != 0; }
  // For clients that connect by themselves.
  void SetLocalName(const std::string& local_name);

  EventLoop& loop_;
  ByteContinuity check_;
  uint64_t requests_ = 0;

 private:
  struct Outstanding {
    uint64_t reply_end;  // position in the stream of replies
    int64_t sent_ns;
  };

  std::string name_;
  std::string local_name_;
  std::unique_ptr<Connection> connection_;  // none: it has a socket of its own
  std::deque<Outstanding> outstanding_;
  uint64_t replies_ = 0;
  GapRecorder gaps_;
  LogHistogram latencies_;
  OnReply on_reply_;
  std::vector<Anomaly> complaints_;
  bool close_expected_ = false;
  int64_t closed_at_ns_ = 0;
  int64_t deviated_at_ns_ = 0;  // when the first wrong byte came
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_CLIENT_H_
