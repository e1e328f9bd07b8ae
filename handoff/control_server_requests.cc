// ControlServer's answers: who may ask what, and what they are told.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/control_server.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

absl::StatusOr<uid_t> SocketPeer(int fd) {
  ucred credentials = {};
  socklen_t size = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return ErrnoError(errno, "SO_PEERCRED");
  }
  return credentials.uid;
}

absl::Status Unsupported(std::string_view what) {
  return CodedError("E_UNSUPPORTED", absl::StatusCode::kUnimplemented,
                    absl::StrCat("this server does not offer ", std::string(what)));
}

ControlResponse ErrorResponse(uint64_t request, const absl::Status& error) {
  return {request, ControlError{CodeOf(error), std::string(error.message())}};
}

}  // namespace

absl::StatusOr<uid_t> ControlServer::PeerOf(int fd) const {
  return options_.peer_uid ? options_.peer_uid(fd) : SocketPeer(fd);
}

absl::StatusOr<uid_t> ControlServer::CheckPeer(int fd) const {
  absl::StatusOr<uid_t> user = PeerOf(fd);
  if (user.ok() && (*user == 0 || *user == geteuid())) return user;
  return CodedError("E_PERM", absl::StatusCode::kPermissionDenied,
                    absl::StrCat("only root and user ", geteuid(),
                                 " may control this server: ask as one of them"));
}

absl::Status ControlServer::TakeToken(uid_t user) {
  const absl::Duration now = Now();
  auto [entry, is_new] = buckets_.try_emplace(user, Bucket{options_.request_burst, now});
  Bucket& bucket = entry->second;
  const double seconds = absl::ToDoubleSeconds(now - bucket.filled);
  bucket.tokens =
      std::min(options_.request_burst, bucket.tokens + seconds * options_.requests_per_second);
  bucket.filled = now;
  if (bucket.tokens < 1) {
    return CodedError("E_RATE", absl::StatusCode::kResourceExhausted,
                      absl::StrCat("more than ", options_.requests_per_second,
                                   " requests a second: ask less often"));
  }
  bucket.tokens -= 1;
  return absl::OkStatus();
}

bool ControlServer::AnswerFrame(ControlConnection& connection, std::string_view frame) {
  absl::StatusOr<uid_t> user = CheckPeer(connection.fd.get());
  absl::StatusOr<ControlRequest> request =
      user.ok() ? DecodeRequest(frame) : absl::StatusOr<ControlRequest>(user.status());
  if (!request.ok()) {
    SendError(connection, 0, request.status());
    connection.closing = true;
    return true;
  }
  const bool doctor = std::holds_alternative<ControlDoctor>(request->body);
  if (doctor && handlers_.may_wait && !handlers_.may_wait()) return false;
  if (absl::Status status = TakeToken(*user); !status.ok()) {
    SendError(connection, request->id, status);
    return true;
  }
  Dispatch(connection, *request);
  return true;
}

void ControlServer::Dispatch(ControlConnection& connection, const ControlRequest& request) {
  const uint64_t id = request.id;
  if (std::holds_alternative<ControlStatusRequest>(request.body)) {
    if (!handlers_.status) return SendError(connection, id, Unsupported("a status"));
    Send(connection, {id, handlers_.status()});
  } else if (const auto* history = std::get_if<ControlHistoryRequest>(&request.body)) {
    if (!handlers_.history) return SendError(connection, id, Unsupported("a history"));
    Send(connection, {id, handlers_.history(history->limit)});
  } else if (const auto* upgrade = std::get_if<ControlUpgrade>(&request.body)) {
    BeginUpgrade(connection, id, *upgrade);
  } else if (std::holds_alternative<ControlCancel>(request.body)) {
    Acknowledge(connection, id,
                handlers_.cancel ? handlers_.cancel() : Unsupported("to cancel an upgrade"));
  } else if (std::holds_alternative<ControlRollback>(request.body)) {
    Acknowledge(connection, id,
                handlers_.rollback ? handlers_.rollback() : Unsupported("to roll back"));
  } else {
    if (!handlers_.doctor) return SendError(connection, id, Unsupported("a doctor"));
    absl::StatusOr<std::string> report = handlers_.doctor();
    if (!report.ok()) return SendError(connection, id, report.status());
    Send(connection, {id, ControlDoctorReport{*std::move(report)}});
  }
}

void ControlServer::BeginUpgrade(ControlConnection& connection, uint64_t request,
                                 const ControlUpgrade& upgrade) {
  if (!handlers_.upgrade) return SendError(connection, request, Unsupported("upgrades"));
  if (connection.waits) {
    return SendError(connection, request,
                     CodedError("E_BUSY", absl::StatusCode::kFailedPrecondition,
                                "this connection waits for an upgrade already: wait for it"));
  }
  // Before the handler, which may answer, or even exec, at once.
  connection.waits = request;
  absl::Status status = handlers_.upgrade(connection.id, upgrade);
  if (!status.ok() && connection.waits == request) {
    connection.waits.reset();
    SendError(connection, request, status);
  }
}

void ControlServer::Acknowledge(ControlConnection& connection, uint64_t request,
                                const absl::Status& status) {
  if (!status.ok()) return SendError(connection, request, status);
  Send(connection, {request, ControlDone{}});
}

void ControlServer::Send(ControlConnection& connection, const ControlResponse& response) {
  connection.Queue(EncodeFrame(response));
  if (state_ == State::kActive) connection.Flush(Now());
}

void ControlServer::SendError(ControlConnection& connection, uint64_t request,
                              const absl::Status& error) {
  Send(connection, ErrorResponse(request, error));
}

ControlConnection* ControlServer::FindWaiting(ConnectionId requester) {
  auto entry = connections_.find(requester);
  if (entry == connections_.end() || entry->second.dead || !entry->second.waits) return nullptr;
  return &entry->second;
}

void ControlServer::SendProgress(ConnectionId requester, const ControlProgress& progress) {
  ControlConnection* connection = FindWaiting(requester);
  // Quiesced: Export may have seen what is unsent, so nothing may be added to it or taken from it.
  if (connection == nullptr || state_ == State::kQuiesced) return;
  // A client that does not read can do without progress, but not without its result.
  if (connection->unsent.size() > ControlConnection::kBackpressure) return;
  Send(*connection, {*connection->waits, progress});
}

void ControlServer::EndWait(ConnectionId requester, ControlResponse response) {
  ControlConnection* connection = FindWaiting(requester);
  if (connection == nullptr) return;
  response.id = *connection->waits;
  Send(*connection, response);
  // Not before: it waits on when there was no memory for its answer.
  connection->waits.reset();
}

void ControlServer::SendResult(ConnectionId requester, const JournalEntry& entry) {
  EndWait(requester, {0, entry});
}

void ControlServer::SendError(ConnectionId requester, const absl::Status& error) {
  EndWait(requester, ErrorResponse(0, error));
}

void ControlServer::HangUp(ConnectionId requester) {
  if (ControlConnection* connection = FindWaiting(requester)) connection->dead = true;
}

std::vector<ControlServer::ConnectionId> ControlServer::Waiting() const {
  std::vector<ConnectionId> waiting;
  for (const auto& [id, connection] : connections_) {
    if (connection.waits && !connection.dead) waiting.push_back(id);
  }
  return waiting;
}

}  // namespace liveexec
