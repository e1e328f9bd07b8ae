#include "handoff/uv/poll_init.h"

#include <atomic>

namespace liveexec::uv {
namespace {

// libuv's callback for the events of a uv_poll_t, which is not in its interface; and what is known
// of it.
std::atomic<uv__io_cb> poll_io{nullptr};
std::atomic<bool> unlike{false};

// What uv_poll_init leaves in `flags`: the handle keeps the loop alive once it is active.
constexpr unsigned kReferenced = 8;

// libuv's queues are rings of links whose [0] leads forward and [1] back.
void MakeEmpty(void* (&queue)[2]) { queue[0] = queue[1] = &queue; }
bool IsEmpty(void* const (&queue)[2]) { return queue[0] == &queue && queue[1] == &queue; }

void AppendTo(void* (&ring)[2], void* (&link)[2]) {
  link[0] = &ring;
  link[1] = ring[1];
  static_cast<void**>(link[1])[0] = &link;
  ring[1] = &link;
}

bool IsLastOf(void* const (&ring)[2], void* const (&link)[2]) {
  return link[0] == &ring && ring[1] == &link && static_cast<void**>(link[1])[0] == &link;
}

// All that uv_poll_init sets, but for the callback.
bool IsAsExpected(const uv_loop_t& loop, const uv_poll_t& handle, int fd) {
  const uv__io_t& watcher = handle.io_watcher;
  return handle.loop == &loop && handle.type == UV_POLL && handle.flags == kReferenced &&
         handle.next_closing == nullptr && handle.poll_cb == nullptr &&
         IsLastOf(loop.handle_queue, handle.handle_queue) && watcher.cb != nullptr &&
         IsEmpty(watcher.pending_queue) && IsEmpty(watcher.watcher_queue) && watcher.fd == fd &&
         watcher.events == 0 && watcher.pevents == 0;
}

bool Exists(const uv_loop_t& loop, int fd) {
  return static_cast<unsigned>(fd) < loop.nwatchers && loop.watchers[fd] != nullptr;
}

}  // namespace

int InitPoll(uv_loop_t* loop, uv_poll_t* handle, int fd) {
  const uv__io_cb callback = poll_io.load(std::memory_order_relaxed);
  if (callback == nullptr) {
    if (const int error = uv_poll_init(loop, handle, fd); error < 0) return error;
    if (unlike.load(std::memory_order_relaxed)) return 0;
    if (UV_VERSION_HEX == uv_version() && IsAsExpected(*loop, *handle, fd)) {
      poll_io.store(handle->io_watcher.cb, std::memory_order_relaxed);
    } else {
      unlike.store(true, std::memory_order_relaxed);
    }
    return 0;
  }
  if (Exists(*loop, fd)) return UV_EEXIST;
  handle->loop = loop;
  handle->type = UV_POLL;
  handle->flags = kReferenced;
  handle->next_closing = nullptr;
  handle->poll_cb = nullptr;
  AppendTo(loop->handle_queue, handle->handle_queue);
  uv__io_t& watcher = handle->io_watcher;
  watcher.cb = callback;
  MakeEmpty(watcher.pending_queue);
  MakeEmpty(watcher.watcher_queue);
  watcher.fd = fd;
  watcher.events = watcher.pevents = 0;
  return 0;
}

}  // namespace liveexec::uv
