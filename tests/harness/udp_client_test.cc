// The UDP client against echoes that do one thing wrong: each must be named.
#include "tests/harness/udp_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <thread>
#include <utility>

#include "core/unique_fd.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/random.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {
namespace {

using ::testing::ContainsRegex;

// Echoes datagrams on a thread of its own, and does `fault` to the one with kNumber.
class Echo {
 public:
  explicit Echo(std::string fault)
      : fault_(std::move(fault)), fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length);
    getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~Echo() {
    shutdown(fd_.get(), SHUT_RDWR);  // ends recvfrom
    thread_.join();
  }
  int port() const { return port_; }

 private:
  static constexpr int kNumber = 20;

  void Run() {
    std::string held;  // for "reorder"
    for (int count = 1;; ++count) {
      std::array<char, 2000> buffer;
      sockaddr_storage peer{};
      socklen_t length = sizeof peer;
      const ssize_t size = recvfrom(fd_.get(), buffer.data(), buffer.size(), 0,
                                    reinterpret_cast<sockaddr*>(&peer), &length);
      if (size <= 0) return;
      std::string bytes(buffer.data(), static_cast<size_t>(size));
      const auto send = [&](const std::string& what) {
        sendto(fd_.get(), what.data(), what.size(), 0, reinterpret_cast<sockaddr*>(&peer), length);
      };
      const bool strikes = count == kNumber && fault_ != "none";
      if (strikes && fault_ == "alter") bytes.back() = static_cast<char>(bytes.back() ^ 1);
      if (strikes && fault_ == "invent") bytes = "liveexec 999999 x";
      if (strikes && fault_ == "reorder") {
        held = bytes;
        continue;
      }
      if (!strikes || fault_ != "drop") send(bytes);
      if (strikes && fault_ == "double") send(bytes);
      if (!held.empty()) send(std::exchange(held, ""));
    }
  }

  std::string fault_;
  UniqueFd fd_;
  int port_ = 0;
  std::thread thread_;
};

SwarmReport Load(const std::string& fault, uint64_t replies) {
  Echo echo(fault);
  ClientSwarm swarm(Endpoint::Udp(echo.port()), Protocol::kEcho, RunSeed());
  auto client = swarm.Add<UdpClient>({}, "udp client", Random(RunSeed()),
                                     UdpOptions{.window = 4, .max_payload = 300});
  EXPECT_TRUE(client.ok()) << client.status();
  swarm.Start();
  swarm.WaitFor([&] { return (*client)->broken() || (*client)->replies() >= replies; });
  return swarm.Finish();
}

TEST(UdpClientTest, FindsNothingWrongWithAGoodEcho) {
  const SwarmReport report = Load("none", 200);
  EXPECT_TRUE(report.ok()) << report.ToString();
  EXPECT_GE(report.requests, 200u);
}

struct Fault {
  const char* name;
  Verdict verdict;
  const char* said;
};

class UdpFaultTest : public ::testing::TestWithParam<Fault> {};

TEST_P(UdpFaultTest, IsNamedWithItsDatagram) {
  const SwarmReport report = Load(GetParam().name, 100000);
  ASSERT_FALSE(report.anomalies.empty());
  EXPECT_EQ(report.anomalies[0].verdict, GetParam().verdict);
  EXPECT_THAT(report.anomalies[0].ToString(),
              ContainsRegex(std::string("udp client .127.0.0.1:[0-9]+.: ") + GetParam().said));
}

INSTANTIATE_TEST_SUITE_P(
    All, UdpFaultTest,
    ::testing::Values(
        Fault{"drop", Verdict::kMessageLost, "datagram 20 .* did not come back before number 21"},
        Fault{"double", Verdict::kAnsweredTwice, "datagram 20 came back a second time"},
        Fault{"alter", Verdict::kByteForeign, "datagram 20 came back altered"},
        Fault{"invent", Verdict::kByteForeign, "a datagram of [0-9]+ bytes that was never sent"},
        Fault{"reorder", Verdict::kMessageLost,
              "datagram 20 .* did not come back before number 21"}),
    [](const auto& fault) { return std::string(fault.param.name); });

TEST(UdpClientTest, NoticesThatNobodyIsThere) {
  int port = 0;
  { port = Echo("none").port(); }
  ClientSwarm swarm(Endpoint::Udp(port), Protocol::kEcho, RunSeed());
  auto client = swarm.Add<UdpClient>({}, "udp client", Random(1), UdpOptions{});
  ASSERT_TRUE(client.ok());
  swarm.Start();
  EXPECT_TRUE(swarm.WaitFor([&] { return (*client)->broken(); }));
  EXPECT_EQ(swarm.Finish().anomalies.at(0).verdict, Verdict::kConnectionRefused);
}

// The kernel's own count of what did not fit into a socket's receive queue.
TEST(UdpClientTest, CountsWhatTheKernelDropped) {
  const UniqueFd slow(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int small = 2048;
  setsockopt(slow.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(bind(slow.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(getsockname(slow.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const int port = ntohs(address.sin_port);
  EXPECT_EQ(UdpDrops(port), 0u);
  const UniqueFd sender(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  for (int i = 0; i < 50; ++i)
    sendto(sender.get(), "some bytes", 10, 0, reinterpret_cast<sockaddr*>(&address), length);
  EXPECT_GT(UdpDrops(port), 0u);
}

}  // namespace
}  // namespace liveexec::harness
