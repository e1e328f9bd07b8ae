#include "handoff/uv/stream.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "handoff/uv/socket_address.h"
#include "handoff/uv/stream_loop.h"

namespace liveexec::uv {
namespace {

// From this size on, a write goes to the kernel without being copied first.
constexpr size_t kWriteThroughSize = 32 << 10;

}  // namespace

void StreamHandler::OnOpen(Stream&) {}
void StreamHandler::OnEnd(Stream& stream) { stream.CloseAfterFlush(); }
void StreamHandler::OnDrained(Stream&) {}
void StreamHandler::OnClose(Stream&) {}
absl::Status StreamHandler::Save(capnp::AnyPointer::Builder) const { return absl::OkStatus(); }
absl::Status StreamHandler::Load(capnp::AnyPointer::Reader) { return absl::OkStatus(); }
bool StreamHandler::MayGoCold() const { return false; }
void StreamHandler::OnCold(Stream&) {}

Stream::Stream(StreamLoop* home, UniqueFd fd, uint64_t id, uint32_t listener)
    : home_(home),
      in_(&home->pool_),
      out_(&home->pool_),
      id_(id),
      fd_(std::move(fd)),
      listener_(listener) {}

void Stream::LearnFd() {
  struct stat info;
  if (fstat(fd_.get(), &info) != 0 || !S_ISSOCK(info.st_mode)) Set(kNoSocket);
  const int mode = fcntl(fd_.get(), F_GETFL) & O_ACCMODE;
  if (mode == O_WRONLY) Set(kNotReadable);
  if (mode == O_RDONLY) Set(kNotWritable);
}

LoopExecutor& Stream::executor() const { return home_->executor(); }

const std::string& Stream::peer_name() {
  // The kernel knows it as long as the connection lives: so it need not be carried.
  if (peer_name_.empty() && !Is(kNoSocket) && fd_) {
    if (auto peer = SocketAddress::Peer(fd_.get()); peer.ok()) peer_name_ = peer->ToString();
  }
  return peer_name_;
}

size_t Stream::pending_output() const {
  return out_.size() + (home_->dispatching_ == this ? home_->corked_ : 0);
}

absl::Status Stream::WhyNotWritable() const {
  if (home_->mode() == StreamLoop::Mode::kQuiesced) {
    return absl::FailedPreconditionError("the stream is quiesced for an upgrade");
  }
  if (Is(kClosed | kCloseAfterFlush)) return absl::FailedPreconditionError("the stream is closed");
  if (Is(kShutdownWanted)) {
    return absl::FailedPreconditionError("the stream is shut down for writing");
  }
  if (Is(kWriteBroken)) return absl::FailedPreconditionError("the connection is broken");
  return absl::FailedPreconditionError("the fd is open for reading only");
}

absl::Status Stream::Write(std::string_view bytes) {
  if (Is(kNoWriting) || home_->mode() == StreamLoop::Mode::kQuiesced) return WhyNotWritable();
  if (bytes.empty()) return absl::OkStatus();
  Set(kDrainDue);
  // The reply to the input that is being looked at goes to the loop's own buffer: nothing is
  // allocated, and it is sent as a whole when OnInput has returned.
  if (home_->dispatching_ == this && out_.empty() &&
      bytes.size() <= StreamLoop::kCorkSize - home_->corked_) {
    std::memcpy(home_->cork_.get() + home_->corked_, bytes.data(), bytes.size());
    home_->corked_ += bytes.size();
    return absl::OkStatus();
  }
  return WriteUncorked(bytes);
}

void Stream::Uncork() {
  if (home_->dispatching_ != this || home_->corked_ == 0) return;
  out_.Append({home_->cork_.get(), home_->corked_});
  home_->corked_ = 0;
}

absl::Status Stream::WriteUncorked(std::string_view bytes) {
  Uncork();
  const bool can_send = !Is(kBlocked) && home_->mode() == StreamLoop::Mode::kServing;
  if (can_send && bytes.size() >= kWriteThroughSize) {
    WriteThrough(bytes);
  } else {
    out_.Append(bytes);
  }
  const size_t limit = home_->options_.max_pending_output;
  if (limit != 0 && out_.size() > limit) {
    if (can_send && !Is(kBlocked | kWriteBroken)) SendPending();
    if (out_.size() > limit) {
      Close();
      return absl::ResourceExhaustedError("the peer reads too slowly: the stream is closed");
    }
  }
  if (Is(kWriteBroken)) return WhyNotWritable();
  if (home_->dispatching_ != this) WantAttention();
  return absl::OkStatus();
}

void Stream::WantInput(size_t at_least) { want_ = std::min(at_least, home_->options_.max_unread); }

void Stream::PauseReading() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || Is(kClosed)) return;
  Set(kPaused);
  Unset(kOfferWanted);
  WantAttention();
}

void Stream::ResumeReading() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || Is(kClosed) || !Is(kPaused)) return;
  Unset(kPaused);
  Set(kOfferWanted);
  WantAttention();
}

void Stream::ShutdownWrite() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || Is(kClosed)) return;
  Set(kShutdownWanted);
  WantAttention();
}

void Stream::CloseAfterFlush() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || Is(kClosed)) return;
  Set(kCloseAfterFlush);
  WantAttention();
}

void Stream::Close() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || Is(kClosed)) return;
  Set(kClosed);
  // The order matters: libuv forgets the fd, events of this very iteration included, before the
  // number is free for another.
  if (Is(kHandleOpen)) uv_close(reinterpret_cast<uv_handle_t*>(&poll_), OnHandleClosed);
  // While the escrow has a duplicate, closing ours tells the peer nothing.
  if (Is(kWasCold)) ::shutdown(fd_.get(), SHUT_RDWR);
  fd_.reset();
  out_.Clear();
  if (home_->dispatching_ == this) home_->corked_ = 0;
  // in_ stays: OnInput may be looking at it.
  WantAttention();
}

void Stream::WantAttention() {
  if (Is(kNeedsAttention)) return;
  Set(kNeedsAttention);
  home_->AddAttention(this);
}

}  // namespace liveexec::uv
