#include "tests/harness/connection.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "core/error.h"

namespace liveexec::harness {

namespace {

constexpr size_t kReadSize = size_t{1} << 16;
constexpr uint64_t kMaxCut = 200;        // bytes in one piece
constexpr uint64_t kMaxCutTurns = 3;     // turns between pieces
constexpr uint64_t kWholeWriteOdds = 8;  // one write in so many is not cut short

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(EventLoop& loop,
                                                             const Endpoint& endpoint,
                                                             ConnectionObserver& observer,
                                                             const DialOptions& options) {
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, Dial(endpoint, options));
  if (fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK) != 0)
    return ErrnoError(errno, "fcntl");
  return std::unique_ptr<Connection>(new Connection(loop, std::move(fd), observer));
}

Connection::Connection(EventLoop& loop, UniqueFd fd, ConnectionObserver& observer)
    : loop_(loop),
      fd_(std::move(fd)),
      observer_(observer),
      local_name_(LocalName(fd_.get())),
      watched_events_(EPOLLIN),
      alive_(std::make_shared<bool>(true)) {
  watch_ = loop_.Watch(fd_.get(), EPOLLIN, [this](uint32_t events) { OnEvents(events); });
}

Connection::~Connection() {
  *alive_ = false;
  loop_.Unwatch(watch_);
}

void Connection::UpdateWatch() {
  if (!open()) return;
  const uint32_t events = (reading_ ? EPOLLIN : 0u) | (blocked_ ? EPOLLOUT : 0u);
  if (events == watched_events_) return;
  watched_events_ = events;
  loop_.Rewatch(watch_, events);
}

void Connection::Fail(const absl::Status& reason) {
  if (!open()) return;
  loop_.Unwatch(watch_);
  fd_.reset();
  observer_.OnClosed(reason);
}

void Connection::OnEvents(uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    blocked_ = false;
    WriteSome();
  }
  if (reading_ && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
    ReadSome(kReadSize);
  } else if ((events & EPOLLERR) != 0) {
    int error = 0;
    socklen_t length = sizeof error;
    if (open()) getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    Fail(ErrnoError(error != 0 ? error : EIO, "connection"));
  }
  UpdateWatch();
}

void Connection::ReadSome(size_t limit) {
  static thread_local std::array<char, kReadSize>
      buffer;  // too large for a stack, too dear for each read
  while (open() && limit > 0) {
    const ssize_t count = recv(fd_.get(), buffer.data(), std::min(buffer.size(), limit), 0);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) Fail(ErrnoError(errno, "recv"));
      return;
    }
    if (count == 0) return Fail(absl::OkStatus());
    limit -= static_cast<size_t>(count);
    observer_.OnBytes(std::string_view(buffer.data(), static_cast<size_t>(count)));
  }
}

void Connection::PauseReading() {
  reading_ = false;
  UpdateWatch();
}

void Connection::ResumeReading() {
  reading_ = true;
  UpdateWatch();
}

void Connection::ReadOnce(size_t bytes) { ReadSome(bytes); }

void Connection::Send(std::string_view bytes) {
  if (!open()) return;
  output_.append(bytes);
  WriteSome();
  UpdateWatch();
}

void Connection::FinishSending() {
  finish_ = true;
  if (open() && unsent() == 0) EndOurSide();
}

// A failure shows when something is read.
void Connection::EndOurSide() { shutdown(fd_.get(), SHUT_WR); }

// Writes at most `bytes`; false when no more can be written now.
bool Connection::WriteUpTo(size_t bytes) {
  const ssize_t count = send(fd_.get(), output_.data() + sent_, std::min(bytes, unsent()),
                             MSG_NOSIGNAL | MSG_DONTWAIT);
  if (count < 0) {
    if (errno == EINTR) return true;
    if (errno != EAGAIN) {
      Fail(ErrnoError(errno, "send"));
      return false;
    }
    blocked_ = true;
    return false;
  }
  sent_ += static_cast<size_t>(count);
  if (sent_ == output_.size() || sent_ > (size_t{1} << 20)) {
    output_.erase(0, sent_);
    sent_ = 0;
  }
  if (finish_ && unsent() == 0) EndOurSide();
  return true;
}

void Connection::WriteSome() {
  if (cuts_) {
    WriteCut();
    return;
  }
  while (open() && unsent() > 0 && !blocked_ && WriteUpTo(unsent())) {
  }
}

// One piece now; the rest in later turns.
void Connection::WriteCut() {
  if (!open() || unsent() == 0 || blocked_ || cut_scheduled_) return;
  if (turns_to_wait_ > 0) {
    --turns_to_wait_;
  } else {
    WriteUpTo(cuts_->Below(kWholeWriteOdds) == 0 ? unsent() : cuts_->Between(1, kMaxCut));
    turns_to_wait_ = cuts_->Below(kMaxCutTurns + 1);
  }
  if (!open() || unsent() == 0 || blocked_) return;
  cut_scheduled_ = true;
  loop_.NextTurn([this, alive = alive_] {
    if (!*alive) return;
    cut_scheduled_ = false;
    WriteCut();
    UpdateWatch();
  });
}

}  // namespace liveexec::harness
