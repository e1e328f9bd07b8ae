// ClientSwarm: any number of clients on one thread of their own, while the test's thread upgrades
// the server.
//
//   ClientSwarm swarm(Endpoint::Tcp(server->port()), Protocol::kResp, RunSeed());
//   ASSERT_TRUE(swarm.AddIdle(1000).ok());
//   ASSERT_TRUE(swarm.AddChecking(32).ok());
//   swarm.Start();
//   swarm.OpenWindow();
//   Upgrade(*server);
//   std::vector<int64_t> gaps_ns = swarm.CloseWindow();     // one for each checking client
//   EXPECT_THAT(swarm.Finish(), SawNoUpgrade());
//
// The public methods belong to the test's thread.
#ifndef LIVEEXEC_TESTS_HARNESS_CLIENT_SWARM_H_
#define LIVEEXEC_TESTS_HARNESS_CLIENT_SWARM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/harness/client.h"
#include "tests/harness/clients.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/event_loop.h"
#include "tests/harness/random.h"
#include "tests/harness/upgrade_timeline.h"

namespace liveexec::harness {

struct WaitState;

// What all clients of a swarm saw, together.
struct SwarmReport {
  uint64_t clients = 0;
  uint64_t connections_kept = 0;  // still open, the same sockets, and intact
  uint64_t requests = 0;
  uint64_t failed_requests = 0;
  uint64_t bytes_arrived = 0;
  uint64_t bytes_lost = 0;     // foreign bytes stand in the place of right ones, which are lost
  uint64_t bytes_doubled = 0;  // or out of order
  uint64_t bytes_foreign = 0;
  LogHistogram latency_ns;            // of the checking clients' replies
  std::vector<std::string> problems;  // "checking client 7 (127.0.0.1:51234): ...", at most 50
  std::vector<Anomaly> anomalies;     // the same, named, with the time; at most 50

  bool ok() const { return problems.empty() && connections_kept == clients; }
  // Notes in each anomaly the upgrade, phase and binary that it belongs to; the problems say so.
  void AttributeTo(const UpgradeTimeline& timeline);
  std::string ToString() const;
};

class ClientSwarm {
 public:
  ClientSwarm(Endpoint endpoint, Protocol protocol, uint64_t seed);
  ~ClientSwarm();
  ClientSwarm(const ClientSwarm&) = delete;
  ClientSwarm& operator=(const ClientSwarm&) = delete;

  // Connects clients. Before Start.
  absl::Status AddIdle(int count);
  absl::Status AddChecking(int count, CheckingOptions options = {});
  // A client of another kind; the swarm owns it. Its constructor gets the loop first.
  template <typename ClientType, typename... Arguments>
  absl::StatusOr<ClientType*> Add(const DialOptions& dialing, Arguments&&... arguments) {
    auto client = std::make_unique<ClientType>(loop_, std::forward<Arguments>(arguments)...);
    if (absl::Status status = client->Connect(endpoint_, dialing); !status.ok()) return status;
    ClientType* borrowed = client.get();
    clients_.push_back(std::move(client));
    return borrowed;
  }

  // Starts the thread, and every client.
  void Start();

  // Runs `task` on the clients' thread and waits for it.
  void Call(const std::function<void()>& task);
  // Waits until `condition`, asked on the clients' thread, holds. False after `timeout`.
  bool WaitFor(const std::function<bool()>& condition, absl::Duration timeout = absl::Seconds(60));

  // All idle clients prove that they are alive. The error names those that did not answer.
  absl::Status ProveIdleAlive(absl::Duration timeout = absl::Seconds(60));
  // Waits until each checking client has had `count` more replies. DeadlineExceeded; DataLoss when
  // a client is broken.
  absl::Status AwaitReplies(uint64_t count, absl::Duration timeout = absl::Seconds(60));

  // See GapRecorder. CloseWindow gives the longest gap of each checking client, in nanoseconds;
  // those whose window never closes (they are broken) are left out.
  void OpenWindow();
  std::vector<int64_t> CloseWindow(absl::Duration timeout = absl::Seconds(60));

  // True when some client has seen something wrong. Any thread may not ask; the test's may, at any
  // time.
  bool broken();

  // Stops all clients, waits for what is outstanding, and ends the thread.
  SwarmReport Finish(absl::Duration timeout = absl::Seconds(60));

 private:
  void StopThread();
  void PostCheck(const std::shared_ptr<WaitState>& state);

  Endpoint endpoint_;
  Protocol protocol_;
  Random random_;
  EventLoop loop_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<IdleClient*> idle_;
  std::vector<Client*> checking_;
  std::thread thread_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_CLIENT_SWARM_H_
