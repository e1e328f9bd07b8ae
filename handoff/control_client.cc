#include "handoff/control_client.h"

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/error.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

absl::Status Lost() {
  return CodedError("E_LOST", absl::StatusCode::kUnavailable,
                    "the server closed the connection before it answered: see whether it runs, and "
                    "ask for its history");
}

absl::Status TimedOut() {
  return CodedError("E_TIMEOUT", absl::StatusCode::kDeadlineExceeded,
                    "the server did not answer in time: an upgrade may still be under way, ask for "
                    "its status");
}

absl::Status DescribeConnectFailure(int error, const std::string& path) {
  if (error == ENOENT || error == ECONNREFUSED) {
    return CodedError(
        "E_CONNECT", absl::StatusCode::kUnavailable,
        absl::StrCat("no server listens on ", path, ": check the path, and that the server runs"));
  }
  if (error == EACCES || error == EPERM) {
    return CodedError("E_ACCES", absl::StatusCode::kPermissionDenied,
                      absl::StrCat("not permitted to use ", path,
                                   ": ask as root, or as the user that the server runs as"));
  }
  if (error == EAGAIN || error == EINPROGRESS || error == EINTR) return TimedOut();
  return WithCode(ErrnoError(error, "cannot connect to " + path), "E_CONNECT");
}

// A response of a kind that does not answer the request.
absl::Status Unexpected() {
  return CodedError("E_PROTO", absl::StatusCode::kInternal,
                    "the server sent something else than was asked for: use the `liveexec` of the "
                    "server's release");
}

template <typename Body>
absl::StatusOr<Body> Expect(absl::StatusOr<ControlResponse> response) {
  if (!response.ok()) return response.status();
  Body* body = std::get_if<Body>(&response->body);
  if (body == nullptr) return Unexpected();
  return std::move(*body);
}

absl::StatusCode StatusCodeOf(std::string_view code) {
  if (code == "E_PERM") return absl::StatusCode::kPermissionDenied;
  if (code == "E_RATE") return absl::StatusCode::kResourceExhausted;
  if (code == "E_UNSUPPORTED") return absl::StatusCode::kUnimplemented;
  return absl::StatusCode::kFailedPrecondition;
}

}  // namespace

absl::StatusOr<ControlClient> ControlClient::Connect(const std::string& path,
                                                     absl::Duration timeout) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return CodedError("E_CONNECT", absl::StatusCode::kInvalidArgument,
                      "a control socket's path has 1 to 107 bytes: check the path");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return WithCode(ErrnoError(errno, "socket"), "E_CONNECT");
  // connect() to a full backlog blocks, for so long: poll() does not tell when there is room.
  const timeval limit = absl::ToTimeval(std::max(timeout, absl::Milliseconds(1)));
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return DescribeConnectFailure(errno, path);
  }
  return ControlClient(std::move(fd));
}

absl::Status ControlClient::Await(short events, absl::Time deadline) {
  while (true) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return TimedOut();
    // Rounded up, and at most a day at a time: poll counts in an int of milliseconds.
    const absl::Duration step = std::min(absl::Ceil(left, absl::Milliseconds(1)), absl::Hours(24));
    pollfd entry = {fd_.get(), events, 0};
    const int count = poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(step)));
    if (count > 0) return absl::OkStatus();
    if (count < 0 && errno != EINTR) return ErrnoError(errno, "poll");
  }
}

absl::StatusOr<uint64_t> ControlClient::Send(ControlRequest request, absl::Time deadline) {
  request.id = next_id_++;
  const std::string frame = EncodeFrame(request);
  size_t sent = 0;
  while (sent < frame.size()) {
    LIVEEXEC_RETURN_IF_ERROR(Await(POLLOUT, deadline));
    const ssize_t count =
        send(fd_.get(), frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) {
      sent += static_cast<size_t>(count);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      // It may have said why before it closed.
      break;
    } else if (errno != EAGAIN && errno != EINTR) {
      return WithCode(ErrnoError(errno, "cannot send to the server"), "E_LOST");
    }
  }
  return request.id;
}

absl::Status ControlClient::ReadMore(absl::Time deadline) {
  LIVEEXEC_RETURN_IF_ERROR(Await(POLLIN, deadline));
  char buffer[64 << 10];
  const ssize_t count = recv(fd_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
  if (count > 0) {
    input_.Append({buffer, static_cast<size_t>(count)});
    return absl::OkStatus();
  }
  if (count == 0 || errno == ECONNRESET) return Lost();
  if (errno == EAGAIN || errno == EINTR) return absl::OkStatus();
  return WithCode(ErrnoError(errno, "cannot receive from the server"), "E_LOST");
}

absl::StatusOr<ControlResponse> ControlClient::Receive(uint64_t id, absl::Time deadline) {
  while (true) {
    LIVEEXEC_ASSIGN_OR_RETURN(std::optional<std::string> frame, input_.Next());
    if (!frame) {
      LIVEEXEC_RETURN_IF_ERROR(ReadMore(deadline));
      continue;
    }
    LIVEEXEC_ASSIGN_OR_RETURN(ControlResponse response, DecodeResponse(*frame));
    // What is left of an earlier request that timed out is skipped.
    if (response.id != id && response.id != 0) continue;
    if (const auto* error = std::get_if<ControlError>(&response.body)) {
      return CodedError(error->code, StatusCodeOf(error->code), error->message);
    }
    return response;
  }
}

absl::StatusOr<ControlResponse> ControlClient::Ask(ControlRequest request, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  LIVEEXEC_ASSIGN_OR_RETURN(const uint64_t id, Send(std::move(request), deadline));
  return Receive(id, deadline);
}

absl::StatusOr<JournalEntry> ControlClient::Upgrade(
    const ControlUpgrade& upgrade, absl::Duration timeout,
    const std::function<void(const ControlProgress&)>& progress) {
  const absl::Time deadline = absl::Now() + timeout;
  if (upgrade.binary.size() >= PATH_MAX) {
    return CodedError("E_NOENT", absl::StatusCode::kInvalidArgument,
                      "the program's path is too long: give a shorter one");
  }
  LIVEEXEC_ASSIGN_OR_RETURN(const uint64_t id, Send({0, upgrade}, deadline));
  while (true) {
    LIVEEXEC_ASSIGN_OR_RETURN(ControlResponse response, Receive(id, deadline));
    if (auto* entry = std::get_if<JournalEntry>(&response.body)) return std::move(*entry);
    const auto* step = std::get_if<ControlProgress>(&response.body);
    if (step == nullptr) return Unexpected();
    if (progress) progress(*step);
  }
}

absl::StatusOr<ControlStatus> ControlClient::Status(absl::Duration timeout) {
  return Expect<ControlStatus>(Ask({0, ControlStatusRequest{}}, timeout));
}

absl::StatusOr<std::vector<JournalEntry>> ControlClient::History(uint32_t limit,
                                                                 absl::Duration timeout) {
  return Expect<std::vector<JournalEntry>>(Ask({0, ControlHistoryRequest{limit}}, timeout));
}

absl::Status ControlClient::Cancel(absl::Duration timeout) {
  return Expect<ControlDone>(Ask({0, ControlCancel{}}, timeout)).status();
}

absl::Status ControlClient::Rollback(absl::Duration timeout) {
  return Expect<ControlDone>(Ask({0, ControlRollback{}}, timeout)).status();
}

absl::StatusOr<std::string> ControlClient::Doctor(absl::Duration timeout) {
  absl::StatusOr<ControlDoctorReport> report =
      Expect<ControlDoctorReport>(Ask({0, ControlDoctor{}}, timeout));
  if (!report.ok()) return report.status();
  return std::move(report->text);
}

}  // namespace liveexec
