#include "tests/harness/udp_client.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

namespace {

constexpr size_t kLargestDatagram = 65536;
constexpr int kOverdueTurns = 5;

// "liveexec 17 <position-coded bytes>"
std::string Numbered(uint64_t number, std::string_view payload) {
  return absl::StrCat("liveexec ", number, " ", std::string(payload));
}

uint64_t NumberIn(std::string_view bytes) {
  unsigned long long number = 0;
  const std::string head(bytes.substr(0, 40));
  return std::sscanf(head.c_str(), "liveexec %llu ", &number) == 1 ? number : 0;
}

}  // namespace

uint64_t UdpDrops(int port) {
  std::ifstream table("/proc/net/udp");
  std::string line;
  uint64_t drops = 0;
  while (std::getline(table, line)) {
    // "  12: 0100007F:1F90 00000000:0000 07 ... drops"; the port is hexadecimal.
    unsigned number = 0;
    if (std::sscanf(line.c_str(), "%*d: %*8x:%4x", &number) != 1 ||
        number != static_cast<unsigned>(port)) {
      continue;
    }
    uint64_t last = 0;
    if (absl::SimpleAtoi(line.substr(line.find_last_of(' ', line.find_last_not_of(' ')) + 1),
                         &last)) {
      drops += last;
    }
  }
  return drops;
}

UdpClient::~UdpClient() {
  if (watch_ != 0) loop_.Unwatch(watch_);
}

absl::Status UdpClient::Connect(const Endpoint& endpoint, const DialOptions&) {
  Endpoint datagrams = endpoint;
  datagrams.datagrams = true;
  LIVEEXEC_ASSIGN_OR_RETURN(fd_, Dial(datagrams));
  port_ = endpoint.port;
  drops_at_start_ = UdpDrops(port_);
  SetLocalName(LocalName(fd_.get()));
  watch_ = loop_.Watch(fd_.get(), EPOLLIN, [this](uint32_t) { OnReadable(); });
  return absl::OkStatus();
}

void UdpClient::Start() {
  if (!options_.only_on_demand) {
    for (size_t i = 0; i < options_.window; ++i) Send();
  }
  Watch();
}

void UdpClient::Send() {
  if (complained()) return;
  const uint64_t number = ++last_number_;
  std::string bytes =
      Numbered(number, PositionCodedBytes(random_.Next(), 0, random_.Below(options_.max_payload)));
  ++requests_;
  const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) {
    return Complain(Verdict::kConnectionRefused,
                    absl::StrCat("datagram ", number, " could not be sent: ",
                                 std::string(ErrnoError(errno, "send").message())));
  }
  under_way_.push_back({number, std::move(bytes), NowNs()});
}

void UdpClient::SendLater() {
  if (!running_ || options_.only_on_demand) return;
  const auto think = absl::Microseconds(
      random_.Below(static_cast<uint64_t>(absl::ToInt64Microseconds(options_.max_think)) + 1));
  loop_.After(think, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired() && running_) Send();
  });
}

void UdpClient::OnReadable() {
  std::array<char, kLargestDatagram> buffer;
  while (!complained()) {
    const ssize_t size = recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size >= 0) {
      OnEcho({buffer.data(), static_cast<size_t>(size)});
    } else if (errno == ECONNREFUSED) {
      return Complain(Verdict::kConnectionRefused, "nobody is bound to the server's port");
    } else {
      return;
    }
  }
}

void UdpClient::Lost(const Datagram& datagram, const std::string& how) {
  const uint64_t drops = UdpDrops(port_) - drops_at_start_;
  Complain(Verdict::kMessageLost,
           absl::StrCat("datagram ", datagram.number, " (", datagram.bytes.size(), " bytes) ", how,
                        drops == 0 ? ""
                                   : absl::StrCat("; the kernel has dropped ", drops,
                                                  " datagrams because the server's receive queue "
                                                  "was full")));
}

void UdpClient::OnEcho(std::string_view bytes) {
  const uint64_t number = NumberIn(bytes);
  if (number == 0 || number > last_number_)
    return Complain(Verdict::kByteForeign,
                    absl::StrCat("a datagram of ", bytes.size(), " bytes that was never sent"));
  if (under_way_.empty() || number < under_way_.front().number) {
    return Complain(Verdict::kAnsweredTwice,
                    absl::StrCat("datagram ", number, " came back a second time"));
  }
  const Datagram expected = std::move(under_way_.front());
  under_way_.pop_front();
  if (number != expected.number)
    return Lost(expected, absl::StrCat("did not come back before number ", number));
  if (bytes != expected.bytes)
    return Complain(Verdict::kByteForeign, absl::StrCat("datagram ", number, " came back altered"));
  CountReply(expected.sent_ns);
  SendLater();
}

// Finds out that the oldest one is overdue.
void UdpClient::Watch() {
  loop_.After(absl::Milliseconds(50), [this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired() || complained()) return;
    const int64_t waited = under_way_.empty() ? 0 : NowNs() - under_way_.front().sent_ns;
    const bool overdue = waited > absl::ToInt64Nanoseconds(options_.patience);
    overdue_turns_ = overdue ? overdue_turns_ + 1 : 0;
    if (overdue_turns_ > kOverdueTurns)
      return Lost(under_way_.front(),
                  absl::StrCat("has not come back ", waited / 1'000'000, " ms after it was sent"));
    Watch();
  });
}

ClientReport UdpClient::Report() {
  if (!complained() && !under_way_.empty()) Lost(under_way_.front(), "never came back");
  return Client::Report();
}

}  // namespace liveexec::harness
