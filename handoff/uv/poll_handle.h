// PollHandle: an owner of one uv_poll_t, with a C++ callback.
//
// libuv closes handles asynchronously, so the handle lives on the heap, detached from this object
// on destruction, until its loop has closed it. The fd is borrowed: it must stay open while it is
// watched, and may be closed as soon as Close() has returned.
//
// On the loop's thread only (or while that is parked).
#ifndef LIVEEXEC_HANDOFF_UV_POLL_HANDLE_H_
#define LIVEEXEC_HANDOFF_UV_POLL_HANDLE_H_

#include <uv.h>

#include <functional>

#include "absl/status/status.h"

namespace liveexec::uv {

class PollHandle {
 public:
  // `events` is of UV_READABLE and UV_WRITABLE: all that are watched for when the fd is in error,
  // whose cause reading or writing then tells. One that fails so again and again must be closed.
  using Callback = std::function<void(int events)>;

  PollHandle() = default;
  ~PollHandle() { Close(); }
  PollHandle(PollHandle&& other) noexcept;
  PollHandle& operator=(PollHandle&& other) noexcept;

  // Makes the handle; makes the fd non-blocking. Starts nothing. The fd must be one that epoll
  // takes.
  absl::Status Open(uv_loop_t* loop, int fd, Callback callback);
  // Watches for `events`; 0 for none. Does nothing while it is not open. The callback may call all
  // methods.
  absl::Status Watch(int events);
  void Close();
  bool is_open() const { return state_ != nullptr; }

 private:
  struct State;
  static void OnPoll(uv_poll_t* handle, int status, int events) noexcept;

  State* state_ = nullptr;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_POLL_HANDLE_H_
