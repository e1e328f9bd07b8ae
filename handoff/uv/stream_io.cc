// The part of Stream that talks to the kernel and calls the handler.
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "handoff/uv/stream.h"
#include "handoff/uv/stream_loop.h"

namespace liveexec::uv {
namespace {

// The most that is read at once into a stream's own buffer, while a big request is arriving.
constexpr size_t kLargestRead = 1 << 20;

// A reply of up to so many bytes is sent when all that the loop found readable at once has been
// read; the peers then run while the loop has no more to do, not between any two of its reads. With
// 50 connections of one request each, measured: a tenth less processor time for a request. Larger
// ones are sent at once: they need not be copied then.
constexpr size_t kLargestLateReply = BufferPool::kBufferSize;

ssize_t ReadFd(int fd, char* into, size_t room) {
  ssize_t n;
  do {
    n = ::read(fd, into, room);
  } while (n < 0 && errno == EINTR);
  return n;
}

bool WouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

void Stream::OnPoll(uv_poll_t* handle, int status, int events) noexcept {
  auto* stream = static_cast<Stream*>(handle->data);
  stream->last_event_ms_ = uv_now(handle->loop);
  if (status < 0) {
    // The fd is in error, and libuv has stopped watching. Reading or writing tells what it is.
    stream->interest_ = 0;
    events = UV_READABLE | UV_WRITABLE;
  }
  if ((events & UV_WRITABLE) != 0 && stream->Is(kBlocked)) {
    stream->Unset(kBlocked);
    stream->Flush();
  }
  if ((events & UV_READABLE) != 0 && !stream->Is(kNoReading)) stream->ReadSome();
  stream->UpdateInterest();
}

void Stream::ReadSome() {
  // With nothing left over, input is read into the loop's buffer, and the handler sees it there.
  const bool direct = in_.empty();
  const size_t missing = want_ > in_.size() ? want_ - in_.size() : 0;
  const size_t room = direct ? StreamLoop::kScratchSize
                             : std::clamp(missing, StreamLoop::kScratchSize, kLargestRead);
  char* into = direct ? home_->scratch_.get() : in_.Reserve(room);
  const ssize_t n = ReadFd(fd_.get(), into, room);
  if (n < 0) {
    if (!WouldBlock(errno)) Close();
    return;
  }
  if (n == 0) return OnPeerEnd();
  const std::string_view input(into, static_cast<size_t>(n));
  if (direct && input.size() >= want_) return Offer(input);
  if (direct) {
    in_.Append(input);
  } else {
    in_.Commit(input.size());
  }
  if (in_.size() >= want_) OfferUnread();
}

void Stream::OnPeerEnd() {
  Set(kEnded);
  handler_->OnEnd(*this);
  // Nothing can come or go any more.
  if (Is(kWriteBroken | kShutdownDone)) return Close();
  if (!Is(kClosed | kBlocked)) Flush();
}

// `input` is all that is unread; what the handler leaves of it goes to in_.
void Stream::Offer(std::string_view input) {
  want_ = 0;
  home_->dispatching_ = this;
  const size_t consumed = handler_->OnInput(*this, input);
  home_->dispatching_ = nullptr;
  if (Is(kClosed)) return;
  if (!in_.empty()) {
    in_.Consume(std::min(consumed, input.size()));
  } else if (consumed < input.size()) {
    in_.Append(input.substr(consumed));
  }
  // First of all: what is corked belongs to this stream, and the next one finds the cork empty.
  if (home_->corked_ > kLargestLateReply) {
    FlushCorked();
  } else if (home_->corked_ != 0) {
    out_.Append({home_->cork_.get(), std::exchange(home_->corked_, 0)});
    WantAttention();
  } else if (!Is(kBlocked) && (!out_.empty() || Is(kDrainDue | kEndWanted))) {
    Flush();
  }
  if (in_.size() > home_->options_.max_unread) Close();
}

void Stream::OfferUnread() {
  Unset(kOfferWanted);
  if (!in_.empty() && !Is(kPaused | kCloseAfterFlush)) Offer(in_.view());
}

ssize_t Stream::Send(std::string_view bytes) {
  ssize_t n;
  do {
    n = Is(kNoSocket) ? ::write(fd_.get(), bytes.data(), bytes.size())
                      : ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n;
}

ssize_t Stream::SendBoth(std::string_view first, std::string_view second) {
  if (first.empty()) return Send(second);
  iovec parts[2] = {{const_cast<char*>(first.data()), first.size()},
                    {const_cast<char*>(second.data()), second.size()}};
  msghdr message = {};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  ssize_t n;
  do {
    n = Is(kNoSocket) ? ::writev(fd_.get(), parts, 2)
                      : ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n;
}

// What OnInput wrote, straight from the loop's buffer. out_ is empty.
void Stream::FlushCorked() {
  const std::string_view bytes(home_->cork_.get(), std::exchange(home_->corked_, 0));
  const ssize_t n = Send(bytes);
  if (n == static_cast<ssize_t>(bytes.size())) return OnAllSent();
  if (n < 0 && !WouldBlock(errno)) return OnWriteError();
  Set(kBlocked);
  out_.Append(bytes.substr(n < 0 ? 0 : static_cast<size_t>(n)));
}

void Stream::SendPending() {
  if (out_.empty()) return;
  const ssize_t n = Send(out_.view());
  if (n < 0 && !WouldBlock(errno)) return OnWriteError();
  if (n > 0) out_.Consume(static_cast<size_t>(n));
  // Less than all means that the kernel's buffer is full: another call would only say so.
  if (!out_.empty()) Set(kBlocked);
}

// The server ends: what was answered in the loop's last iteration is still on its way.
void Stream::SendLast() {
  if (Is(kClosed | kBlocked) || out_.empty()) return;
  SendPending();
  if (!Is(kClosed)) DiscardInput();
}

void Stream::WriteThrough(std::string_view bytes) {
  ssize_t n = SendBoth(out_.view(), bytes);
  if (n < 0 && !WouldBlock(errno)) return OnWriteError();
  n = std::max<ssize_t>(n, 0);
  const size_t sent = static_cast<size_t>(n);
  const size_t from_queue = std::min(sent, out_.size());
  if (sent < out_.size() + bytes.size()) Set(kBlocked);
  if (from_queue != 0) out_.Consume(from_queue);
  out_.Append(bytes.substr(sent - from_queue));
}

void Stream::OnWriteError() {
  // Nobody takes our output any more. But the peer may have sent input before it went, which the
  // kernel has accepted: it is still read, up to the end.
  Set(kWriteBroken);
  out_.Clear();
  if (Is(kNoReading)) Close();
}

void Stream::Flush() {
  SendPending();
  if (!Is(kClosed | kBlocked)) OnAllSent();
}

void Stream::OnAllSent() {
  if (Is(kEndWanted)) {
    if (Is(kShutdownWanted) && !Is(kShutdownDone)) {
      Set(kShutdownDone);
      if (!Is(kNoSocket)) ::shutdown(fd_.get(), SHUT_WR);
      if (Is(kEnded | kNotReadable)) return Close();
    }
    if (Is(kCloseAfterFlush)) {
      DiscardInput();
      return Close();
    }
  }
  if (!Is(kDrainDue) || Is(kWriteBroken)) return;
  Unset(kDrainDue);
  handler_->OnDrained(*this);
}

void Stream::DiscardInput() {
  // close() with unread input in the kernel resets the connection, and the peer might lose the end
  // of our output. Bounded: a peer that sends without end is not waited for.
  if (Is(kNoSocket | kEnded | kWriteBroken)) return;
  for (int i = 0; i < 64; ++i) {
    if (ReadFd(fd_.get(), home_->scratch_.get(), StreamLoop::kScratchSize) <= 0) return;
  }
}

void Stream::UpdateInterest() {
  const int wanted = (Is(kNoReading) ? 0 : UV_READABLE) | (Is(kBlocked) ? UV_WRITABLE : 0);
  if (wanted == interest_ || Is(kClosed)) return;
  if (home_->mode() != StreamLoop::Mode::kServing) return;
  interest_ = wanted;
  const int error = wanted == 0 ? uv_poll_stop(&poll_) : uv_poll_start(&poll_, wanted, OnPoll);
  if (error < 0) Close();
}

void Stream::Service() {
  if (Is(kClosed)) return Finish();
  if (Is(kNotOpened)) {
    Unset(kNotOpened);
    handler_->OnOpen(*this);
  }
  if (!Is(kClosed) && Is(kOfferWanted)) OfferUnread();
  if (!Is(kClosed | kBlocked)) Flush();
  // A connection that is broken and not read from would never be heard of again.
  if (Is(kWriteBroken) && Is(kNoReading)) Close();
  UpdateInterest();
}

void Stream::Finish() {
  handler_->OnClose(*this);
  home_->Forget(*this);
  handler_.reset();
  in_.Clear();
  Set(kFinished);
  if (!Is(kHandleOpen)) delete this;
}

bool Stream::MayGoCold(uint64_t idle_since_ms) const {
  // Everything else is business that is not finished.
  constexpr uint32_t kIdleFlags = kHandleOpen | kWasCold;
  return (flags_ & ~kIdleFlags) == 0 && in_.empty() && out_.empty() &&
         last_event_ms_ < idle_since_ms && home_->dispatching_ != this && handler_->MayGoCold();
}

void Stream::GoCold() {
  handler_->OnCold(*this);
  handler_.reset();
  Set(kClosed | kFinished);
  home_->streams_.erase(id_);
  // The set watches the connection now; this epoll set must forget it before the fd is closed, as
  // the open file lives on.
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), OnHandleClosed);
  fd_.reset();
}

void Stream::OnHandleClosed(uv_handle_t* handle) noexcept {
  auto* stream = static_cast<Stream*>(handle->data);
  StreamLoop* home = stream->home_;
  stream->Unset(kHandleOpen);
  if (stream->Is(kFinished)) delete stream;
  home->HandleClosed();
}

}  // namespace liveexec::uv
