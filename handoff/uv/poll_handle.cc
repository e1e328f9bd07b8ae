#include "handoff/uv/poll_handle.h"

#include <utility>

#include "handoff/uv/uv_error.h"

namespace liveexec::uv {

struct PollHandle::State {
  uv_poll_t poll;
  Callback callback;
  int watched = 0;
};

PollHandle::PollHandle(PollHandle&& other) noexcept
    : state_(std::exchange(other.state_, nullptr)) {}

PollHandle& PollHandle::operator=(PollHandle&& other) noexcept {
  if (this != &other) {
    Close();
    state_ = std::exchange(other.state_, nullptr);
  }
  return *this;
}

absl::Status PollHandle::Open(uv_loop_t* loop, int fd, Callback callback) {
  Close();
  auto* state = new State;
  state->callback = std::move(callback);
  const int error = uv_poll_init(loop, &state->poll, fd);
  if (error < 0) {
    delete state;
    return UvError(error, "uv_poll_init");
  }
  state->poll.data = state;
  state_ = state;
  return absl::OkStatus();
}

absl::Status PollHandle::Watch(int events) {
  if (state_ == nullptr) return absl::OkStatus();
  // libuv takes the fd out of epoll and puts it in again, also when nothing changes.
  if (events == state_->watched) return absl::OkStatus();
  state_->watched = events;
  if (events == 0) return UvError(uv_poll_stop(&state_->poll), "uv_poll_stop");
  return UvError(uv_poll_start(&state_->poll, events, OnPoll), "uv_poll_start");
}

void PollHandle::OnPoll(uv_poll_t* handle, int status, int events) noexcept {
  auto* state = static_cast<State*>(handle->data);
  if (status < 0) {
    // The fd is in error: libuv has stopped watching, and gives no events.
    events = std::exchange(state->watched, 0);
  }
  state->callback(events);
  // Unless the callback said what to watch for from now on, it is what it was.
  if (status < 0 && state->watched == 0 && !uv_is_closing(reinterpret_cast<uv_handle_t*>(handle))) {
    state->watched = events;
    uv_poll_start(handle, events, OnPoll);
  }
}

void PollHandle::Close() {
  if (state_ == nullptr) return;
  State* state = std::exchange(state_, nullptr);
  // The state, and with it the callback that may be running right now, lives until the loop's
  // closing phase.
  uv_close(reinterpret_cast<uv_handle_t*>(&state->poll),
           [](uv_handle_t* handle) { delete static_cast<State*>(handle->data); });
}

}  // namespace liveexec::uv
