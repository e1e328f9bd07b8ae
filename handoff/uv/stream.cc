#include "handoff/uv/stream.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

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

Stream::Stream(StreamLoop* home, UniqueFd fd, uint64_t id, uint32_t listener)
    : home_(home),
      in_(&home->pool_),
      out_(&home->pool_),
      id_(id),
      fd_(std::move(fd)),
      listener_(listener) {}

void Stream::LearnFd() {
  struct stat info;
  socket_ = fstat(fd_.get(), &info) == 0 && S_ISSOCK(info.st_mode);
  const int mode = fcntl(fd_.get(), F_GETFL) & O_ACCMODE;
  readable_ = mode != O_WRONLY;
  writable_ = mode != O_RDONLY;
}

LoopExecutor& Stream::executor() const { return home_->executor(); }

const std::string& Stream::peer_name() {
  // The kernel knows it as long as the connection lives: so it need not be carried.
  if (peer_name_.empty() && socket_ && fd_) {
    if (auto peer = SocketAddress::Peer(fd_.get()); peer.ok()) peer_name_ = peer->ToString();
  }
  return peer_name_;
}

absl::Status Stream::CheckWritable() const {
  if (home_->mode() == StreamLoop::Mode::kQuiesced) {
    return absl::FailedPreconditionError("the stream is quiesced for an upgrade");
  }
  if (closed_ || close_after_flush_) return absl::FailedPreconditionError("the stream is closed");
  if (shutdown_wanted_) {
    return absl::FailedPreconditionError("the stream is shut down for writing");
  }
  if (write_broken_) return absl::FailedPreconditionError("the connection is broken");
  if (!writable_) return absl::FailedPreconditionError("the fd is open for reading only");
  return absl::OkStatus();
}

absl::Status Stream::Write(std::string_view bytes) {
  if (absl::Status status = CheckWritable(); !status.ok()) return status;
  if (bytes.empty()) return absl::OkStatus();
  drain_due_ = true;
  const bool can_send = !blocked_ && home_->mode() == StreamLoop::Mode::kServing;
  if (can_send && bytes.size() >= kWriteThroughSize) {
    WriteThrough(bytes);
  } else {
    out_.Append(bytes);
  }
  const size_t limit = home_->options_.max_pending_output;
  if (limit != 0 && out_.size() > limit) {
    if (can_send) SendPending();
    if (out_.size() > limit) {
      Close();
      return absl::ResourceExhaustedError("the peer reads too slowly: the stream is closed");
    }
  }
  if (write_broken_) return absl::FailedPreconditionError("the connection is broken");
  if (home_->dispatching_ != this) WantAttention();
  return absl::OkStatus();
}

void Stream::WantInput(size_t at_least) { want_ = std::min(at_least, home_->options_.max_unread); }

void Stream::PauseReading() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || closed_) return;
  paused_ = true;
  offer_wanted_ = false;
  WantAttention();
}

void Stream::ResumeReading() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || closed_ || !paused_) return;
  paused_ = false;
  offer_wanted_ = true;
  WantAttention();
}

void Stream::ShutdownWrite() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || closed_) return;
  shutdown_wanted_ = true;
  WantAttention();
}

void Stream::CloseAfterFlush() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || closed_) return;
  close_after_flush_ = true;
  WantAttention();
}

void Stream::Close() {
  if (home_->mode() == StreamLoop::Mode::kQuiesced || closed_) return;
  closed_ = true;
  // The order matters: libuv forgets the fd, events of this very iteration included, before the
  // number is free for another.
  if (handle_open_) uv_close(reinterpret_cast<uv_handle_t*>(&poll_), OnHandleClosed);
  fd_.reset();
  out_.Clear();
  // in_ stays: OnInput may be looking at it.
  WantAttention();
}

void Stream::WantAttention() {
  if (needs_attention_) return;
  needs_attention_ = true;
  home_->AddAttention(this);
}

}  // namespace liveexec::uv
