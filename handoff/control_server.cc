#include "handoff/control_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/clock.h"
#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"

namespace liveexec {
namespace {

// How long not to accept after the process ran out of fds: the backlog stays readable meanwhile.
constexpr absl::Duration kAcceptPause = absl::Seconds(1);

}  // namespace

ControlServer::ControlServer(std::string path, Handlers handlers, Options options)
    : configured_path_(std::move(path)),
      handlers_(std::move(handlers)),
      options_(std::move(options)) {}

ControlServer::~ControlServer() {
  if (owns_file_) listener_.Unlink();
}

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::Listen(std::string path,
                                                                     Handlers handlers,
                                                                     Options options) {
  auto server =
      std::make_unique<ControlServer>(std::move(path), std::move(handlers), std::move(options));
  LIVEEXEC_RETURN_IF_ERROR(server->Initialize());
  server->Activate();
  return server;
}

const std::string& ControlServer::path() const { return listener_.path(); }

absl::Duration ControlServer::Now() const {
  return options_.clock ? options_.clock() : absl::Nanoseconds(MonotonicNs());
}

void ControlServer::AppendPollFds(std::vector<pollfd>& fds) const {
  if (state_ != State::kActive) return;
  if (listener_ && Now() >= accept_again_) fds.push_back({listener_.fd(), POLLIN, 0});
  for (const auto& [id, connection] : connections_) {
    if (connection.dead) continue;
    int events = 0;
    if (connection.wants_input()) events |= POLLIN;
    if (!connection.unsent.empty()) events |= POLLOUT;
    // Also with no events: POLLHUP tells that a client which waits has gone.
    fds.push_back({connection.fd.get(), static_cast<short>(events), 0});
  }
}

void ControlServer::Handle(absl::Span<const pollfd> polled) {
  if (state_ != State::kActive) return;
  // A few dozen at most, and looking takes no memory.
  const auto ready = [&](int fd) -> short {
    for (const pollfd& entry : polled) {
      if (entry.fd == fd && entry.revents != 0) return entry.revents;
    }
    return 0;
  };
  ++handling_;
  const absl::Cleanup handled = [this] {
    if (--handling_ == 0) Sweep();
  };
  const bool all = std::exchange(unanswered_, false);
  for (auto& [id, connection] : connections_) {
    // A handler may have run the whole upgrade, and ended it with everything quiesced.
    if (state_ != State::kActive) break;
    const short events = ready(connection.fd.get());
    if (events != 0 || all) Serve(connection, events);
  }
  // After the connections: a new one may get the number of one that was polled and closed.
  if (state_ == State::kActive && listener_ && ready(listener_.fd()) != 0) AcceptAll();
  if (state_ == State::kActive) CloseOverdue();
}

void ControlServer::AcceptAll() {
  // Bounded: a flood of connections must not keep the others waiting.
  for (size_t i = 0; i < options_.max_connections; ++i) {
    UniqueFd fd(accept4(listener_.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      Welcome(std::move(fd));
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      accept_again_ = Now() + kAcceptPause;
      return;
    }
    if (errno != ECONNABORTED && errno != EINTR) return;
  }
}

void ControlServer::Welcome(UniqueFd fd) {
  absl::Status status = CheckPeer(fd.get()).status();
  if (status.ok() && connections_.size() >= options_.max_connections) {
    status = CodedError("E_BUSY", absl::StatusCode::kUnavailable,
                        absl::StrCat("all ", options_.max_connections,
                                     " control connections are taken: close some"));
  }
  const ConnectionId id = next_connection_++;
  ControlConnection stranger;
  ControlConnection& connection = status.ok() ? connections_[id] : stranger;
  connection.id = id;
  connection.fd = std::move(fd);
  connection.last_active = Now();
  // A stranger gets no place, only its error: the socket's buffer is empty and takes it at once.
  if (!status.ok()) SendError(connection, 0, status);
}

void ControlServer::Serve(ControlConnection& connection, short events) {
  if (connection.dead) return;
  // A request that there is no memory for costs its client the connection, and nobody else
  // anything.
  const absl::Status served = CatchingCall("answer a request", [&] {
    ServeWithMemory(connection, events);
    return absl::OkStatus();
  });
  if (!served.ok()) connection.dead = true;
}

void ControlServer::ServeWithMemory(ControlConnection& connection, short events) {
  if ((events & POLLIN) != 0 && connection.wants_input()) {
    connection.Receive(Now());
  } else if ((events & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
    connection.dead = true;
    return;
  }
  AnswerFrames(connection);
  if (state_ != State::kActive) return;
  connection.Flush(Now());
  if (connection.input.empty() || connection.closing) return;
  // What backpressure held back: poll() does not tell of bytes that were received before.
  if (connection.unsent.size() <= ControlConnection::kBackpressure &&
      !connection.frame_started.has_value()) {
    unanswered_ = true;
  }
}

void ControlServer::AnswerFrames(ControlConnection& connection) {
  while (!connection.dead && !connection.closing && state_ == State::kActive) {
    if (connection.unsent.size() > ControlConnection::kBackpressure) {
      connection.frame_started.reset();  // it is we who are slow
      return;
    }
    absl::StatusOr<std::optional<std::string>> frame = connection.input.Next();
    if (!frame.ok()) {
      SendError(connection, 0, frame.status());
      connection.closing = true;
      return;
    }
    if (!frame->has_value()) break;
    connection.frame_started.reset();
    if (AnswerFrame(connection, **frame)) continue;
    connection.input.PutBack(**frame);
    return;
  }
  if (connection.input.empty()) {
    connection.frame_started.reset();
  } else if (!connection.frame_started) {
    connection.frame_started = Now();
  }
}

absl::Duration ControlServer::DeadlineOf(const ControlConnection& connection) const {
  if (connection.frame_started) return *connection.frame_started + options_.frame_deadline;
  if (!connection.unsent.empty()) return connection.last_active + options_.send_deadline;
  if (connection.waits) return absl::InfiniteDuration();
  return connection.last_active + options_.idle_deadline;
}

absl::Duration ControlServer::UntilDeadline() const {
  if (state_ != State::kActive) return absl::InfiniteDuration();
  if (unanswered_) return absl::ZeroDuration();
  const absl::Duration now = Now();
  absl::Duration next = accept_again_ > now ? accept_again_ : absl::InfiniteDuration();
  for (const auto& [id, connection] : connections_) {
    next = std::min(next, connection.dead ? now : DeadlineOf(connection));
  }
  return std::max(next - now, absl::ZeroDuration());
}

void ControlServer::CloseOverdue() {
  const absl::Duration now = Now();
  for (auto& [id, connection] : connections_) {
    if (connection.dead || now < DeadlineOf(connection)) continue;
    if (connection.frame_started && !connection.closing) {
      SendError(connection, 0,
                CodedError("E_TIMEOUT", absl::StatusCode::kDeadlineExceeded,
                           "the request did not arrive whole in time: send it at once"));
    }
    connection.dead = true;
  }
}

void ControlServer::Sweep() {
  for (auto entry = connections_.begin(); entry != connections_.end();) {
    const ControlConnection& connection = entry->second;
    // With a whole frame left, frame_started is not set.
    const bool answered = connection.input.empty() || connection.frame_started.has_value();
    const bool finished =
        connection.unsent.empty() &&
        (connection.closing || (connection.no_more_input && answered && !connection.waits));
    entry = connection.dead || finished ? connections_.erase(entry) : std::next(entry);
  }
}

}  // namespace liveexec
