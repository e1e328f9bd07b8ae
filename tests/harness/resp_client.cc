#include "tests/harness/resp_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

absl::StatusOr<std::unique_ptr<RespClient>> RespClient::Open(const Endpoint& endpoint,
                                                             const DialOptions& options) {
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, Dial(endpoint, options));
  return std::unique_ptr<RespClient>(new RespClient(std::move(fd)));
}

absl::Status RespClient::SendRaw(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoError(errno, "send");
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::StatusOr<RespValue> RespClient::ReceiveValue(absl::Duration timeout) {
  const int64_t deadline = NowNs() + absl::ToInt64Nanoseconds(timeout);
  std::array<char, 65536> buffer;
  while (true) {
    LIVEEXEC_ASSIGN_OR_RETURN(auto value, parser_.Next());
    if (value.has_value()) return *std::move(value);
    const int64_t left = deadline - NowNs();
    pollfd wait = {.fd = fd_.get(), .events = POLLIN, .revents = 0};
    const int ready = poll(&wait, 1, left <= 0 ? 0 : static_cast<int>(left / 1'000'000 + 1));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return absl::DeadlineExceededError("no reply");
    const ssize_t count = recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (count < 0) return ErrnoError(errno, "recv");
    if (count == 0) return absl::UnavailableError("the server closed the connection");
    parser_.Feed(std::string_view(buffer.data(), static_cast<size_t>(count)));
  }
}

std::string RespClient::Receive(absl::Duration timeout) {
  const auto value = ReceiveValue(timeout);
  return value.ok() ? value->ToString() : absl::StrCat("(connection) ", value.status().message());
}

std::string RespClient::Call(const std::vector<std::string>& command) {
  if (const absl::Status sent = Send(command); !sent.ok())
    return absl::StrCat("(connection) ", sent.message());
  return Receive();
}

bool RespClient::Silent() {
  pollfd wait = {.fd = fd_.get(), .events = POLLIN, .revents = 0};
  return parser_.buffered() == 0 && poll(&wait, 1, 0) == 0;
}

void RespClient::FinishSending() { shutdown(fd_.get(), SHUT_WR); }

}  // namespace liveexec::harness
