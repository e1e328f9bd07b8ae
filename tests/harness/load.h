// Load: seats at a server, each taken by a client, on one thread of their own.
//
//   Load load(Endpoint::Tcp(port), seed);
//   load.AddSeats(32, Rank::kBusy, "checking client", [](EventLoop& loop, std::string name, Random
//   r)
//       { return std::make_unique<EchoClient>(loop, std::move(name), r, CheckingOptions{}); });
//   load.Start();
//   load.OpenWindow();
//   Upgrade();
//   load.CloseWindow();
//   LoadReport report = load.Finish();
//
// What a ClientSwarm does not have: a client that is broken, or has done what it came for, gives
// its seat to another, so that a server that drops connections can be watched to its end, and an
// outage be measured. What each client saw wrong is kept.
//
// The public methods belong to the test's thread.
#ifndef LIVEEXEC_TESTS_HARNESS_LOAD_H_
#define LIVEEXEC_TESTS_HARNESS_LOAD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/harness/client.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/event_loop.h"
#include "tests/harness/measure.h"
#include "tests/harness/random.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {

enum class Rank : uint8_t {
  kIdle,     // asks when told to; when it is lost, its seat stays empty
  kBusy,     // has requests under way all the time: its gaps are measured
  kOther,    // as kBusy, but replies come too seldom to say anything about gaps
  kVisitor,  // comes and goes
};

// What clients saw in one hundredth of a second.
struct Moment {
  uint32_t replies = 0;
  uint32_t lost = 0;  // connections, and refused attempts to get one
  int64_t worst_latency_ns = 0;
};
inline constexpr int64_t kMomentNs = 10'000'000;

struct LoadReport {
  uint64_t connections = 0;  // that were to last: all but the visitors'
  uint64_t kept = 0;         // the first client of the seat still sits there, on the same socket
  uint64_t reconnections = 0;
  uint64_t refused = 0;   // attempts to connect
  uint64_t visitors = 0;  // that were served
  uint64_t requests = 0;
  uint64_t failed_requests = 0;
  uint64_t bytes_arrived = 0;
  uint64_t bytes_lost = 0;
  uint64_t bytes_doubled = 0;
  uint64_t bytes_reordered = 0;
  uint64_t bytes_foreign = 0;
  LogHistogram latency_ns;  // of the busy ones
  int64_t start_ns = 0;
  std::vector<Moment> moments;
  std::vector<Anomaly> anomalies;  // at most kMaxAnomalies
  uint64_t anomalies_left_out = 0;
  static constexpr size_t kMaxAnomalies = 200;
};

class Load {
 public:
  using Factory = std::function<std::unique_ptr<Client>(EventLoop&, std::string name, Random)>;

  Load(Endpoint endpoint, uint64_t seed);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Connects `count` clients. Before Start.
  absl::Status AddSeats(int count, Rank rank, const std::string& kind, Factory factory,
                        const DialOptions& dialing = {});
  void Start();

  // Runs `task` on the clients' thread and waits for it.
  void Call(const std::function<void()>& task);

  // See GapRecorder. CloseWindow gives the longest gap of each busy seat, in nanoseconds; one that
  // gets no reply within `timeout` has the time that it has waited so far. Seats that have been
  // complained of as silent are left out, here and below, until they get a reply after all.
  void OpenWindow();
  std::vector<int64_t> CloseWindow(absl::Duration timeout);

  // Waits until each busy seat has had `count` more replies. Those that had not are complained of.
  bool AwaitReplies(uint64_t count, absl::Duration timeout);
  // The idle clients prove that they are alive. Those that do not are complained of.
  bool ProveIdleAlive(absl::Duration timeout);

  // Connections that were to last and are still there.
  uint64_t kept();

  // Stops all clients, waits for what is outstanding, and ends the thread.
  LoadReport Finish(absl::Duration timeout);

 private:
  struct Seat;
  struct Wait;

  absl::Status Fill(Seat& seat);
  void Tick();
  void TickSeat(Seat& seat, int64_t now);
  void Retire(Seat& seat);
  void OnReply(Seat& seat, int64_t now, int64_t latency);
  Moment& MomentAt(int64_t now);
  void Note(Anomaly anomaly);
  void Account(const ClientReport& report);
  bool StillHere(const Seat& seat) const;
  bool WaitFor(const std::function<bool()>& condition, absl::Duration timeout);
  void AskAgain(const std::shared_ptr<Wait>& wait);
  void StopThread();

  Endpoint endpoint_;
  Random random_;
  EventLoop loop_;
  std::vector<std::unique_ptr<Seat>> seats_;
  std::thread thread_;
  LoadReport report_;
  bool stopping_ = false;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_LOAD_H_
