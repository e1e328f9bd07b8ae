#include "handoff/uv/udp_sockets.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using ::testing::ElementsAre;
using testing::TestLoop;

// A socket of the test's own.
class Peer {
 public:
  explicit Peer(const std::string& host = "127.0.0.1") {
    auto address = SocketAddress::Resolve(host, 0, SOCK_DGRAM);
    fd_.reset(socket(address->family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    EXPECT_EQ(bind(fd_.get(), address->get(), address->length()), 0);
  }
  SocketAddress address() const { return *SocketAddress::Local(fd_.get()); }
  void Send(std::string_view bytes, const SocketAddress& to) {
    EXPECT_EQ(sendto(fd_.get(), bytes.data(), bytes.size(), 0, to.get(), to.length()),
              static_cast<ssize_t>(bytes.size()));
  }
  // The next datagram, or nothing.
  std::optional<std::string> Receive() {
    std::string bytes(64 << 10, '\0');
    const ssize_t n = recv(fd_.get(), bytes.data(), bytes.size(), 0);
    if (n < 0) return std::nullopt;
    bytes.resize(static_cast<size_t>(n));
    return bytes;
  }

 private:
  UniqueFd fd_;
};

class UdpSocketsTest : public ::testing::Test {
 protected:
  std::unique_ptr<UdpSockets> Make() {
    auto udp = std::make_unique<UdpSockets>("udp", loop_.executor());
    udp->Define("s", [this](const Datagram& datagram) {
      received_.emplace_back(datagram.bytes);
      peers_.push_back(datagram.peer.ToString());
    });
    udp->Define("other", nullptr);
    return udp;
  }

  void Start() {
    auto port = udp_->Bind("s", "127.0.0.1", 0);
    ASSERT_TRUE(port.ok()) << port.status();
    udp_->Activate();
  }

  void Rehydrate() {
    ASSERT_TRUE(udp_->Quiesce().ok());
    EXPECT_EQ(udp_->Send("s", "x", Peer().address()).code(), absl::StatusCode::kFailedPrecondition);
    auto state = CarriedState::Of(*udp_);
    ASSERT_TRUE(state.ok()) << state.status();
    udp_ = Make();
    const absl::Status status = state->RehydrateInto(*udp_);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(state->fds_left(), 0u);
  }

  TestLoop loop_;
  std::vector<std::string> received_;
  std::vector<std::string> peers_;
  std::unique_ptr<UdpSockets> udp_ = Make();
};

TEST_F(UdpSocketsTest, ReceiveAndSend) {
  Start();
  Peer peer;
  peer.Send("question", *udp_->address("s"));
  peer.Send("", *udp_->address("s"));
  loop_.RunUntil([&] { return received_.size() == 2; });
  EXPECT_THAT(received_, ElementsAre("question", ""));
  EXPECT_EQ(peers_[0], peer.address().ToString());
  EXPECT_TRUE(udp_->Send("s", "answer", peer.address()).ok());
  std::optional<std::string> answer;
  loop_.RunUntil([&] { return (answer = peer.Receive()).has_value(); });
  EXPECT_EQ(*answer, "answer");
}

TEST_F(UdpSocketsTest, ReceiveOverIpv6) {
  ASSERT_TRUE(udp_->Bind("s", "::1", 0).ok());
  udp_->Activate();
  Peer peer("::1");
  peer.Send("x", *udp_->address("s"));
  loop_.RunUntil([&] { return received_.size() == 1; });
  EXPECT_EQ(peers_[0], peer.address().ToString());
}

TEST_F(UdpSocketsTest, ReceiveAfterAnUpgradeWhatTheKernelHeldInOrder) {
  Start();
  const SocketAddress address = *udp_->address("s");
  Peer peer;
  std::vector<std::string> sent;
  for (int i = 0; i < 40; ++i) {  // more than one batch
    sent.push_back(std::to_string(i));
    peer.Send(sent.back(), address);
  }
  Rehydrate();
  sent.emplace_back("during");
  peer.Send("during", address);
  loop_.RunReady();
  EXPECT_THAT(received_, ElementsAre()) << "before Activate";
  EXPECT_EQ(udp_->address("s")->port(), address.port());
  udp_->Activate();
  loop_.RunUntil([&] { return received_.size() == sent.size(); });
  EXPECT_EQ(received_, sent);
}

// A UNIX datagram socket stands in for the UDP one, because a UDP socket on loopback never has a
// full buffer: the kernel drops instead.
class FullSocketTest : public UdpSocketsTest {
 protected:
  FullSocketTest() : receiver_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    const sockaddr_un any = {.sun_family = AF_UNIX};  // the kernel chooses an abstract name
    EXPECT_EQ(bind(receiver_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(sa_family_t)),
              0);
    address_ = *SocketAddress::Local(receiver_.get());
  }

  // Makes the component's own socket a UNIX one, in place.
  void StartUnix() {
    ASSERT_TRUE(udp_->Bind("s", "127.0.0.1", 0).ok());
    UniqueFd unix_socket(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ASSERT_EQ(dup3(unix_socket.get(), udp_->fd("s"), O_CLOEXEC), udp_->fd("s"));
    udp_->Activate();
  }

  std::optional<std::string> Receive() {
    std::string bytes(1000, '\0');
    const ssize_t n = recv(receiver_.get(), bytes.data(), bytes.size(), 0);
    if (n < 0) return std::nullopt;
    bytes.resize(static_cast<size_t>(n));
    return bytes;
  }

  UniqueFd receiver_;
  SocketAddress address_;
};

TEST_F(FullSocketTest, SendsInOrderAfterAnUpgradeWhatFoundNoRoom) {
  StartUnix();
  constexpr int kCount = 2000;  // net.unix.max_dgram_qlen is far below
  for (int i = 0; i < kCount; ++i) {
    ASSERT_TRUE(udp_->Send("s", std::to_string(i), address_).ok());
  }
  EXPECT_GT(udp_->queued_bytes("s"), 0u);
  const size_t queued = udp_->queued_bytes("s");
  Rehydrate();
  EXPECT_EQ(udp_->queued_bytes("s"), queued);
  EXPECT_TRUE(udp_->Send("s", std::to_string(kCount), address_).ok());
  udp_->Activate();
  int next = 0;
  loop_.RunUntil([&] {
    while (auto datagram = Receive()) EXPECT_EQ(*datagram, std::to_string(next++));
    return next == kCount + 1;
  });
  loop_.RunUntil([&] { return udp_->queued_bytes("s") == 0; });
}

TEST_F(FullSocketTest, DropsAndSaysSoWhenTheQueueIsFull) {
  StartUnix();
  udp_->set_max_queued(100);
  absl::Status last;
  for (int i = 0; i < 10'000 && last.ok(); ++i) last = udp_->Send("s", "0123456789", address_);
  EXPECT_EQ(last.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(udp_->queued_bytes("s"), 100u);
}

TEST_F(UdpSocketsTest, SayWhatIsWrongWithADatagram) {
  Start();
  EXPECT_EQ(ErrnoOf(udp_->Send("s", std::string(70'000, 'x'), Peer().address())), EMSGSIZE);
  EXPECT_EQ(udp_->Send("nobody", "x", Peer().address()).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(udp_->Send("other", "x", Peer().address()).code(), absl::StatusCode::kNotFound);
}

TEST_F(UdpSocketsTest, RefuseToBindTwiceOrWithoutADefinition) {
  Start();
  EXPECT_EQ(udp_->Bind("s", "127.0.0.1", 0).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(udp_->Bind("other", "127.0.0.1", udp_->address("s")->port()).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(udp_->Bind("x", "127.0.0.1", 0).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(UdpSocketsTest, GoOnWhenTheUpgradeIsAbandoned) {
  Start();
  ASSERT_TRUE(udp_->Quiesce().ok());
  ASSERT_TRUE(CarriedState::Of(*udp_).ok());
  Peer peer;
  peer.Send("x", *udp_->address("s"));
  udp_->Resume();
  loop_.RunUntil([&] { return received_.size() == 1; });
  EXPECT_TRUE(udp_->Send("s", "y", peer.address()).ok());
}

}  // namespace
}  // namespace liveexec::uv
