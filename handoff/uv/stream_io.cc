// The part of Stream that talks to the kernel and calls the handler.
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "handoff/uv/stream.h"
#include "handoff/uv/stream_loop.h"

namespace liveexec::uv {
namespace {

// The most that is read at once into a stream's own buffer, while a big request is arriving.
constexpr size_t kLargestRead = 1 << 20;

ssize_t ReadFd(int fd, char* into, size_t room) {
  ssize_t n;
  do {
    n = ::read(fd, into, room);
  } while (n < 0 && errno == EINTR);
  return n;
}

bool WouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

bool Stream::reading() const {
  return readable_ && opened_ && !paused_ && !ended_ && !close_after_flush_;
}

void Stream::OnPoll(uv_poll_t* handle, int status, int events) noexcept {
  auto* stream = static_cast<Stream*>(handle->data);
  if (status < 0) {
    // The fd is in error, and libuv has stopped watching. Reading or writing tells what it is.
    stream->interest_ = 0;
    events = UV_READABLE | UV_WRITABLE;
  }
  if ((events & UV_WRITABLE) != 0 && stream->blocked_) {
    stream->blocked_ = false;
    stream->Flush();
  }
  if ((events & UV_READABLE) != 0 && !stream->closed_ && stream->reading()) stream->ReadSome();
  if (!stream->closed_) stream->UpdateInterest();
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
  ended_ = true;
  if (write_broken_ || shutdown_done_) return Close();
  handler_->OnEnd(*this);
  if (!closed_ && !blocked_) Flush();
}

// `input` is all that is unread; what the handler leaves of it goes to in_.
void Stream::Offer(std::string_view input) {
  want_ = 0;
  home_->dispatching_ = this;
  const size_t consumed = std::min(handler_->OnInput(*this, input), input.size());
  home_->dispatching_ = nullptr;
  if (closed_) return;
  if (in_.empty()) {
    in_.Append(input.substr(consumed));
  } else {
    in_.Consume(consumed);
  }
  if (in_.size() > home_->options_.max_unread) return Close();
  if (!blocked_) Flush();
}

void Stream::OfferUnread() {
  offer_wanted_ = false;
  if (!in_.empty() && !paused_ && !close_after_flush_) Offer(in_.view());
}

ssize_t Stream::Send(std::string_view first, std::string_view second) {
  iovec parts[2] = {{const_cast<char*>(first.data()), first.size()},
                    {const_cast<char*>(second.data()), second.size()}};
  const int skip = first.empty() ? 1 : 0;
  const int count = (second.empty() ? 1 : 2) - skip;
  ssize_t n;
  do {
    if (!socket_) {
      n = ::writev(fd_.get(), parts + skip, count);
    } else if (count == 1) {
      n = ::send(fd_.get(), parts[skip].iov_base, parts[skip].iov_len, MSG_NOSIGNAL);
    } else {
      msghdr message = {};
      message.msg_iov = parts;
      message.msg_iovlen = 2;
      n = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    }
  } while (n < 0 && errno == EINTR);
  return n;
}

void Stream::SendPending() {
  while (!out_.empty()) {
    const ssize_t n = Send(out_.view(), {});
    if (n < 0) {
      if (!WouldBlock(errno)) return OnWriteError();
      blocked_ = true;
      return;
    }
    out_.Consume(static_cast<size_t>(n));
    // Less than all means that the kernel's buffer is full: another call would only say so.
    if (!out_.empty()) {
      blocked_ = true;
      return;
    }
  }
}

void Stream::WriteThrough(std::string_view bytes) {
  ssize_t n = Send(out_.view(), bytes);
  if (n < 0 && !WouldBlock(errno)) return OnWriteError();
  n = std::max<ssize_t>(n, 0);
  const size_t sent = static_cast<size_t>(n);
  const size_t from_queue = std::min(sent, out_.size());
  if (sent < out_.size() + bytes.size()) blocked_ = true;
  if (from_queue != 0) out_.Consume(from_queue);
  out_.Append(bytes.substr(sent - from_queue));
}

void Stream::OnWriteError() {
  // Nobody takes our output any more. But the peer may have sent input before it went, which the
  // kernel has accepted: it is still read, up to the end.
  write_broken_ = true;
  out_.Clear();
  if (!reading()) Close();
}

void Stream::Flush() {
  SendPending();
  if (closed_ || blocked_) return;
  if (shutdown_wanted_ && !shutdown_done_) {
    shutdown_done_ = true;
    if (socket_) ::shutdown(fd_.get(), SHUT_WR);
    if (ended_ || !readable_) return Close();
  }
  if (close_after_flush_) {
    DiscardInput();
    return Close();
  }
  if (drain_due_ && !write_broken_) {
    drain_due_ = false;
    handler_->OnDrained(*this);
  }
}

void Stream::DiscardInput() {
  // close() with unread input in the kernel resets the connection, and the peer might lose the end
  // of our output. Bounded: a peer that sends without end is not waited for.
  if (!socket_ || ended_ || write_broken_) return;
  for (int i = 0; i < 64; ++i) {
    if (ReadFd(fd_.get(), home_->scratch_.get(), StreamLoop::kScratchSize) <= 0) return;
  }
}

void Stream::UpdateInterest() {
  const int wanted = (reading() ? UV_READABLE : 0) | (blocked_ ? UV_WRITABLE : 0);
  if (wanted == interest_ || home_->mode() != StreamLoop::Mode::kServing) return;
  interest_ = wanted;
  const int error = wanted == 0 ? uv_poll_stop(&poll_) : uv_poll_start(&poll_, wanted, OnPoll);
  if (error < 0) Close();
}

void Stream::Service() {
  if (closed_) return Finish();
  if (!opened_) {
    opened_ = true;
    handler_->OnOpen(*this);
  }
  if (!closed_ && offer_wanted_) OfferUnread();
  if (!closed_ && !blocked_) Flush();
  if (!closed_) UpdateInterest();
}

void Stream::Finish() {
  handler_->OnClose(*this);
  home_->Forget(*this);
  handler_.reset();
  in_.Clear();
  finished_ = true;
  if (!handle_open_) delete this;
}

void Stream::OnHandleClosed(uv_handle_t* handle) noexcept {
  auto* stream = static_cast<Stream*>(handle->data);
  StreamLoop* home = stream->home_;
  stream->handle_open_ = false;
  if (stream->finished_) delete stream;
  home->HandleClosed();
}

}  // namespace liveexec::uv
