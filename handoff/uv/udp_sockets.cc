#include "handoff/uv/udp_sockets.h"

#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/uv/images.capnp.h"

namespace liveexec::uv {
namespace {

constexpr size_t kBatch = 16;
constexpr size_t kLargestDatagram = 64 << 10;

absl::Status Quiesced() {
  return absl::FailedPreconditionError("UDP sockets are quiesced for an upgrade");
}

bool WouldBlock(int error) {
  // ENOBUFS is the same for a device's queue; a retry when the socket is writable is all one can
  // do.
  return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS;
}

int SendNow(int fd, std::string_view bytes, const SocketAddress& peer) {
  ssize_t n;
  do {
    n = sendto(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL, peer.get(),
               peer.length());
  } while (n < 0 && errno == EINTR);
  return n < 0 ? errno : 0;
}

}  // namespace

struct UdpSockets::Batch {
  std::array<mmsghdr, kBatch> messages;
  std::array<iovec, kBatch> parts;
  std::array<sockaddr_storage, kBatch> peers;
  std::array<std::array<char, kLargestDatagram>, kBatch> bytes;

  // The kernel overwrites lengths with what it received.
  void Prepare() {
    for (size_t i = 0; i < kBatch; ++i) {
      parts[i] = {bytes[i].data(), bytes[i].size()};
      messages[i] = {};
      messages[i].msg_hdr.msg_name = &peers[i];
      messages[i].msg_hdr.msg_namelen = sizeof(peers[i]);
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
  }
};

UdpSockets::UdpSockets(std::string name, LoopExecutor& executor)
    : name_(std::move(name)), executor_(executor) {}

UdpSockets::~UdpSockets() = default;

void UdpSockets::Define(std::string socket, Callback callback) {
  sockets_[std::move(socket)].callback = std::move(callback);
}

absl::StatusOr<int> UdpSockets::Bind(std::string_view socket, const std::string& host, int port) {
  if (quiesced_) return Quiesced();
  auto found = sockets_.find(socket);
  if (found == sockets_.end()) {
    return absl::NotFoundError(absl::StrCat("no socket is defined as ", std::string(socket)));
  }
  if (found->second.fd) {
    return absl::AlreadyExistsError(absl::StrCat(std::string(socket), " is bound already"));
  }
  LIVEEXEC_ASSIGN_OR_RETURN(const SocketAddress wanted,
                            SocketAddress::Resolve(host, port, SOCK_DGRAM));
  UniqueFd fd(::socket(wanted.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket");
  if (wanted.family() == AF_INET6) {
    const int on = 1;
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  }
  if (bind(fd.get(), wanted.get(), wanted.length()) != 0) {
    if (errno == EADDRINUSE) {
      return absl::AlreadyExistsError(absl::StrCat(wanted.ToString(), " is in use"));
    }
    return ErrnoError(errno, absl::StrCat("bind ", wanted.ToString()));
  }
  LIVEEXEC_ASSIGN_OR_RETURN(const SocketAddress bound, SocketAddress::Local(fd.get()));
  LIVEEXEC_RETURN_IF_ERROR(Open(found->second, std::move(fd)));
  Watch(found->second);
  return bound.port();
}

absl::Status UdpSockets::Open(Socket& socket, UniqueFd fd) {
  // References to map values stay valid, and sockets are never removed from the map.
  LIVEEXEC_RETURN_IF_ERROR(socket.poll.Open(
      executor_.loop(), fd.get(), [this, &socket](int events) { OnReady(socket, events); }));
  socket.fd = std::move(fd);
  return absl::OkStatus();
}

void UdpSockets::Watch(Socket& socket) {
  if (!serving_ || !socket.fd) return;
  socket.poll.Watch(UV_READABLE | (socket.queue.empty() ? 0 : UV_WRITABLE)).IgnoreError();
}

absl::Status UdpSockets::Send(std::string_view socket, std::string_view bytes,
                              const SocketAddress& peer) {
  if (quiesced_) return Quiesced();
  auto found = sockets_.find(socket);
  if (found == sockets_.end() || !found->second.fd) {
    return absl::NotFoundError(absl::StrCat("no socket is bound as ", std::string(socket)));
  }
  Socket& out = found->second;
  // Before Activate nothing is sent: the upgrade is not committed.
  if (out.queue.empty() && serving_) {
    const int error = SendNow(out.fd.get(), bytes, peer);
    if (error == 0) return absl::OkStatus();
    if (!WouldBlock(error)) return ErrnoError(error, absl::StrCat("send to ", peer.ToString()));
  }
  if (out.queued + bytes.size() > max_queued_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(out.queued, " bytes wait to be sent from ", std::string(socket)));
  }
  out.queue.push_back({std::string(bytes), peer});
  out.queued += bytes.size();
  if (out.queue.size() == 1) Watch(out);
  return absl::OkStatus();
}

void UdpSockets::OnReady(Socket& socket, int events) {
  if ((events & UV_WRITABLE) != 0) SendQueued(socket);
  if ((events & UV_READABLE) != 0) Receive(socket);
  Watch(socket);
}

void UdpSockets::Receive(Socket& socket) {
  if (batch_ == nullptr) batch_.reset(new Batch);  // not zeroed: 1 MiB that is mostly never touched
  batch_->Prepare();
  int n;
  do {
    n = recvmmsg(socket.fd.get(), batch_->messages.data(), kBatch, MSG_DONTWAIT, nullptr);
  } while (n < 0 && errno == EINTR);
  // An error is one that a former datagram of ours met (ECONNREFUSED): reading it has cleared it.
  for (int i = 0; i < n; ++i) {
    const auto index = static_cast<size_t>(i);
    const mmsghdr& message = batch_->messages[index];
    const Datagram datagram = {
        .bytes = {batch_->bytes[index].data(), message.msg_len},
        .peer = SocketAddress(reinterpret_cast<const sockaddr*>(&batch_->peers[index]),
                              message.msg_hdr.msg_namelen),
    };
    if (socket.callback) socket.callback(datagram);
  }
}

void UdpSockets::SendQueued(Socket& socket) {
  // Bounded: what callbacks queue meanwhile comes behind.
  for (size_t left = socket.queue.size(); left > 0; --left) {
    const Queued& next = socket.queue.front();
    const int error = SendNow(socket.fd.get(), next.bytes, next.peer);
    if (error != 0 && WouldBlock(error)) return;
    // Any other error is this datagram's own: it is lost, as on a wire, and the others go on.
    socket.queued -= next.bytes.size();
    socket.queue.pop_front();
  }
}

size_t UdpSockets::queued_bytes(std::string_view socket) const {
  auto found = sockets_.find(socket);
  return found == sockets_.end() ? 0 : found->second.queued;
}

int UdpSockets::fd(std::string_view socket) const {
  auto found = sockets_.find(socket);
  return found == sockets_.end() ? -1 : found->second.fd.get();
}

absl::StatusOr<SocketAddress> UdpSockets::address(std::string_view socket) const {
  if (const int bound = fd(socket); bound >= 0) return SocketAddress::Local(bound);
  return absl::NotFoundError(absl::StrCat("no socket is bound as ", std::string(socket)));
}

absl::Status UdpSockets::Quiesce() {
  quiesced_ = true;
  return absl::OkStatus();
}

void UdpSockets::Resume() { quiesced_ = false; }

absl::Status UdpSockets::Export(ExportContext& context) const {
  unsigned bound = 0;
  for (const auto& [name, socket] : sockets_) bound += socket.fd ? 1 : 0;
  auto records = context.InitRoot<image::UdpSockets>().initSockets(bound);
  unsigned i = 0;
  const auto data = [](std::string_view bytes) {
    return capnp::Data::Reader(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size());
  };
  for (const auto& [name, socket] : sockets_) {
    if (!socket.fd) continue;
    records[i].setName(name);
    auto queue = records[i].initQueue(static_cast<unsigned>(socket.queue.size()));
    for (unsigned j = 0; j < queue.size(); ++j) {
      queue[j].setBytes(data(socket.queue[j].bytes));
      queue[j].setPeer(data(socket.queue[j].peer.bytes()));
    }
    LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("socket", i, socket.fd.get()));
    ++i;
  }
  return absl::OkStatus();
}

absl::Status UdpSockets::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(const auto image, context.Root<image::UdpSockets>());
  const auto records = image.getSockets();
  for (unsigned i = 0; i < records.size(); ++i) {
    const std::string name = records[i].getName();
    auto found = sockets_.find(name);
    if (found == sockets_.end() || found->second.fd) {
      return absl::NotFoundError(absl::StrCat("the UDP socket ", name, " is not defined here"));
    }
    Socket& socket = found->second;
    for (image::UdpSockets::Datagram::Reader queued : records[i].getQueue()) {
      const auto bytes = queued.getBytes().asChars();
      const auto peer_bytes = queued.getPeer().asChars();
      LIVEEXEC_ASSIGN_OR_RETURN(SocketAddress peer,
                                SocketAddress::FromBytes({peer_bytes.begin(), peer_bytes.size()}));
      socket.queue.push_back({std::string(bytes.begin(), bytes.size()), peer});
      socket.queued += bytes.size();
    }
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd("socket", i));
    LIVEEXEC_RETURN_IF_ERROR(Annotate(Open(socket, std::move(fd)), name));
  }
  return absl::OkStatus();
}

void UdpSockets::Activate() {
  serving_ = true;
  for (auto& [name, socket] : sockets_) Watch(socket);
}

}  // namespace liveexec::uv
