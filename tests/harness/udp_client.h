// UdpClient: sends numbered datagrams to a server that echoes each, and checks that every one comes
// back once, unaltered and in order.
//
// UDP promises none of that; on loopback, to a server that is up, the kernel keeps it all the same,
// as long as the server's receive queue does not overflow. What is missing is therefore a finding,
// and says how many datagrams the kernel dropped for want of room in the server's queue, if it did:
// then the server read too slowly for `window` and the number of clients.
//
//   swarm.Add<UdpClient>({}, "udp client", random, UdpOptions{});
#ifndef LIVEEXEC_TESTS_HARNESS_UDP_CLIENT_H_
#define LIVEEXEC_TESTS_HARNESS_UDP_CLIENT_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "tests/harness/client.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/event_loop.h"
#include "tests/harness/random.h"

namespace liveexec::harness {

struct UdpOptions {
  size_t window = 2;                                 // datagrams under way
  size_t max_payload = 400;                          // bytes
  absl::Duration max_think = absl::Milliseconds(4);  // between an echo and the next datagram
  bool only_on_demand = false;  // sends when Prove() is called, and is idle otherwise
  // A datagram that has not come back so long after it was sent is lost.
  absl::Duration patience = absl::Seconds(15);
};

class UdpClient final : public Client {
 public:
  UdpClient(EventLoop& loop, std::string name, Random random, UdpOptions options)
      : Client(loop, std::move(name)), random_(random), options_(options) {}
  ~UdpClient() override;

  absl::Status Connect(const Endpoint& endpoint, const DialOptions& options) override;
  void Start() override;
  void Stop() override { running_ = false; }
  void Prove() override { Send(); }
  bool settled() const override { return broken() || under_way_.empty(); }
  bool broken() const override { return complained(); }
  bool connected() const override { return !complained(); }
  ClientReport Report() override;

 private:
  struct Datagram {
    uint64_t number;
    std::string bytes;
    int64_t sent_ns;
  };

  void Send();
  void SendLater();
  void OnReadable();
  void OnEcho(std::string_view bytes);
  void Watch();
  void Lost(const Datagram& datagram, const std::string& how);

  Random random_;
  UdpOptions options_;
  UniqueFd fd_;
  int port_ = 0;                 // the server's
  uint64_t drops_at_start_ = 0;  // of the server's socket
  EventLoop::WatchId watch_ = 0;
  std::deque<Datagram> under_way_;  // in the order of sending
  uint64_t last_number_ = 0;
  int overdue_turns_ = 0;  // time in which we did not run is nobody's delay
  bool running_ = true;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// How many datagrams the kernel has dropped because the receive queue of the socket that is bound
// to `port` was full.
uint64_t UdpDrops(int port);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_UDP_CLIENT_H_
