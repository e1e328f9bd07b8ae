// UdpSockets: named UDP sockets. What the kernel has received but we have not read stays in the
// kernel; what we could not send yet is carried, with its addresses.
//
//   UdpSockets udp("udp", executor);
//   udp.Define("dns", [&](const Datagram& query) {
//     udp.Send("dns", Answer(query.bytes), query.peer);
//   });
//   if (upgrader->fresh()) udp.Bind("dns", "127.0.0.1", 5353);
//
// All methods and callbacks are on the executor's thread. Quiesced: FailedPrecondition.
#ifndef LIVEEXEC_HANDOFF_UV_UDP_SOCKETS_H_
#define LIVEEXEC_HANDOFF_UV_UDP_SOCKETS_H_

#include <sys/socket.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/poll_handle.h"
#include "handoff/uv/socket_address.h"

namespace liveexec::uv {

struct Datagram {
  std::string_view bytes;  // valid during the callback
  SocketAddress peer;
};

class UdpSockets final : public Component {
 public:
  using Callback = std::function<void(const Datagram&)>;

  UdpSockets(std::string name, LoopExecutor& executor);
  ~UdpSockets() override;

  // What to do with the datagrams of the socket called `socket`. Define all before Upgrader::Start.
  void Define(std::string socket, Callback callback);

  // Binds the socket; returns its port. NotFound: not defined. AlreadyExists: bound already, or the
  // address is in use. `host` is a name or address; port 0 picks one.
  absl::StatusOr<int> Bind(std::string_view socket, const std::string& host, int port);

  // Sends now, or as soon as the socket's buffer has room. Order is kept. NotFound: not bound.
  // ResourceExhausted: `max_queued` bytes wait already; the datagram is dropped. Other errors are
  // the kernel's (too long, unreachable, ...): the datagram is not sent.
  absl::Status Send(std::string_view socket, std::string_view bytes, const SocketAddress& peer);

  // Bytes that wait in us for room in the socket's buffer.
  size_t queued_bytes(std::string_view socket) const;
  void set_max_queued(size_t bytes) { max_queued_ = bytes; }  // per socket; 16 MiB unless set

  // Where it is bound; NotFound.
  absl::StatusOr<SocketAddress> address(std::string_view socket) const;
  // The fd, borrowed, for setsockopt; -1 when it is not bound.
  int fd(std::string_view socket) const;

  std::string_view name() const override { return name_; }
  absl::Status Quiesce() override;
  absl::Status Export(ExportContext& context) const override;
  void Resume() override;
  // NotFound when a carried socket has no definition in this program.
  absl::Status Rehydrate(ImportContext& context) override;
  void Activate() override;

 private:
  struct Queued {
    std::string bytes;
    SocketAddress peer;
  };
  struct Socket {
    Callback callback;
    UniqueFd fd;
    PollHandle poll;
    std::deque<Queued> queue;
    size_t queued = 0;  // bytes in queue
  };
  struct Batch;  // buffers for one recvmmsg()

  absl::Status Open(Socket& socket, UniqueFd fd);
  void Watch(Socket& socket);
  void OnReady(Socket& socket, int events);
  void Receive(Socket& socket);
  void SendQueued(Socket& socket);

  const std::string name_;
  LoopExecutor& executor_;
  bool serving_ = false;
  bool quiesced_ = false;
  size_t max_queued_ = 16 << 20;
  std::map<std::string, Socket, std::less<>> sockets_;
  std::unique_ptr<Batch> batch_;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_UDP_SOCKETS_H_
