#include "handoff/uv/stream_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/uv/poll_init.h"
#include "handoff/uv/stream_image.h"
#include "handoff/uv/uv_error.h"

namespace liveexec::uv {

StreamLoop::StreamLoop(LoopExecutor& executor, Options options)
    : executor_(executor),
      options_(std::move(options)),
      scratch_(std::make_unique_for_overwrite<char[]>(kScratchSize)),
      cork_(std::make_unique_for_overwrite<char[]>(kCorkSize)) {}

void StreamLoop::OpenHandles() {
  if (open_handles_ > 0) return;
  uv_prepare_init(executor_.loop(), &prepare_);
  uv_idle_init(executor_.loop(), &idle_);
  uv_timer_init(executor_.loop(), &cold_timer_);
  prepare_.data = idle_.data = cold_timer_.data = this;
  open_handles_ = 3;
  executor_.AtStandstill(this, [this] { SendDeferred(); });
}

void StreamLoop::Shutdown() {
  shut_down_ = true;
  executor_.AtStandstill(this, nullptr);
  // Before and after it serves, the connections belong to another program: no peer is to be told.
  const bool serving = mode_ == Mode::kServing;
  if (!serving || !WarmNow().ok()) DropAllColdSets();
  mode_ = Mode::kServing;  // closing is not refused
  for (uint64_t id : Ids()) {
    Stream* stream = Find(id);
    if (stream == nullptr) continue;
    if (serving) {
      stream->SendLast();
    } else {
      stream->Unset(Stream::kWasCold);
    }
    stream->Close();
  }
  while (Stream* stream = TakeAttention()) {
    if (stream->Is(Stream::kClosed)) stream->Finish();
  }
  if (open_handles_ == 0) {
    delete this;
    return;
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&prepare_), OnOwnHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), OnOwnHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&cold_timer_), OnOwnHandleClosed);
}

void StreamLoop::OnOwnHandleClosed(uv_handle_t* handle) noexcept {
  static_cast<StreamLoop*>(handle->data)->HandleClosed();
}

void StreamLoop::HandleClosed() {
  if (--open_handles_ == 0 && shut_down_) delete this;
}

absl::StatusOr<Stream*> StreamLoop::Make(UniqueFd fd, uint64_t id, uint32_t listener) {
  if (streams_.contains(id)) {
    return absl::AlreadyExistsError(absl::StrCat("there are two streams with id ", id));
  }
  OpenHandles();
  const int number = fd.get();
  // No make_unique: the destructor is private. Until the poll handle is open, nothing refers to it.
  auto* stream = new Stream(this, std::move(fd), id, listener);
  // Stream sockets are non-blocking: accepted so, by this program or the one that handed over.
  const auto init = options_.any_fd ? uv_poll_init : InitPoll;
  if (const int error = init(executor_.loop(), &stream->poll_, number); error < 0) {
    delete stream;
    return UvError(error, absl::StrCat("uv_poll_init of stream ", id));
  }
  stream->poll_.data = stream;
  stream->last_event_ms_ = uv_now(executor_.loop());
  if (options_.any_fd) stream->LearnFd();
  stream->Set(Stream::kHandleOpen);
  ++open_handles_;
  streams_.emplace(id, stream);
  stream->handler_ = options_.make_handler(*stream);
  return stream;
}

absl::StatusOr<Stream*> StreamLoop::Adopt(UniqueFd fd, uint64_t id, uint32_t listener) {
  return Make(std::move(fd), id, listener);
}

absl::StatusOr<Stream*> StreamLoop::Adopt(UniqueFd fd, image::Stream::Reader record) {
  LIVEEXEC_ASSIGN_OR_RETURN(Stream * stream,
                            Make(std::move(fd), record.getId(), record.getListener()));
  LIVEEXEC_RETURN_IF_ERROR(StreamImage::Load(*stream, record));
  return stream;
}

void StreamLoop::Begin(Stream& stream) { stream.WantAttention(); }

void StreamLoop::Serve() {
  mode_ = Mode::kServing;
  OpenHandles();
  for (uint64_t id : Ids()) {
    BeginCarried(*Find(id));
  }
  if (!cold_.empty()) Warm();
}

void StreamLoop::BeginCarried(Stream& stream) {
  if (!stream.in_.empty()) stream.Set(Stream::kOfferWanted);
  const bool busy = !stream.out_.empty() ||
                    stream.Is(Stream::kNotOpened | Stream::kOfferWanted | Stream::kEndWanted);
  if (busy) {
    stream.WantAttention();
  } else {
    stream.UpdateInterest();
  }
}

absl::Status StreamLoop::Quiesce() {
  if (warming_) LIVEEXEC_RETURN_IF_ERROR(WarmNow());
  // What the kernel takes now need not be carried. OnClose may close others, or write to them,
  // which adds to the list: until none is left.
  for (bool found = true; found;) {
    found = false;
    SendDeferred();
    Stream* stream = attention_first_;
    attention_first_ = attention_last_ = nullptr;
    while (stream != nullptr) {
      Stream* next = std::exchange(stream->next_attention_, nullptr);
      if (stream->Is(Stream::kClosed)) {
        found = true;
        stream->Finish();
      } else {
        AddAttention(stream);
      }
      stream = next;
    }
  }
  mode_before_quiesce_ = std::exchange(mode_, Mode::kQuiesced);
  for (const auto& set : cold_) LIVEEXEC_RETURN_IF_ERROR(set->Seal());
  return absl::OkStatus();
}

void StreamLoop::Resume() {
  if (mode_ != Mode::kQuiesced) return;
  mode_ = mode_before_quiesce_;
  emptied_.clear();
  for (uint64_t id : std::exchange(to_begin_, {})) {
    // Before Activate it is Serve that begins all.
    if (Stream* stream = mode_ == Mode::kServing ? Find(id) : nullptr) BeginCarried(*stream);
  }
}

std::vector<uint64_t> StreamLoop::Ids() const {
  std::vector<uint64_t> ids;
  ids.reserve(streams_.size());
  for (const auto& [id, stream] : streams_) {
    if (!stream->Is(Stream::kClosed)) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Stream* StreamLoop::Find(uint64_t id) const {
  auto found = streams_.find(id);
  return found == streams_.end() || found->second->Is(Stream::kClosed) ? nullptr : found->second;
}

void StreamLoop::Forget(Stream& stream) {
  if (options_.on_closed) options_.on_closed(stream);
  streams_.erase(stream.id());
}

void StreamLoop::AddAttention(Stream* stream) {
  if (attention_first_ == nullptr) {
    // The prepare handle works the list off before the loop next waits; the idle handle keeps it
    // from waiting before that. A loop where nothing is wanted has neither running.
    uv_prepare_start(&prepare_, OnPrepare);
    uv_idle_start(&idle_, [](uv_idle_t*) {});
  }
  (attention_last_ == nullptr ? attention_first_ : attention_last_->next_attention_) = stream;
  attention_last_ = stream;
}

Stream* StreamLoop::TakeAttention() {
  Stream* stream = attention_first_;
  if (stream == nullptr) return nullptr;
  attention_first_ = std::exchange(stream->next_attention_, nullptr);
  if (attention_first_ == nullptr) attention_last_ = nullptr;
  stream->Unset(Stream::kNeedsAttention);
  return stream;
}

// What has been put off until the loop next waits, for when that will be late or never. Calls no
// handler.
void StreamLoop::SendDeferred() {
  if (mode_ != Mode::kServing) return;
  for (Stream* stream = attention_first_; stream != nullptr; stream = stream->next_attention_) {
    if (!stream->Is(Stream::kClosed | Stream::kBlocked)) stream->SendPending();
  }
}

void StreamLoop::OnPrepare(uv_prepare_t* handle) noexcept {
  auto* self = static_cast<StreamLoop*>(handle->data);
  if (self->mode_ == Mode::kServing) self->WorkOff();
}

void StreamLoop::WorkOff() {
  // What is added meanwhile waits for the next iteration, which the idle handle makes come at once.
  Stream* const last = attention_last_;
  while (Stream* stream = TakeAttention()) {
    const bool done = stream == last;
    stream->Service();
    if (done) break;
  }
  if (attention_first_ != nullptr) return;
  uv_idle_stop(&idle_);
  uv_prepare_stop(&prepare_);
}

}  // namespace liveexec::uv
