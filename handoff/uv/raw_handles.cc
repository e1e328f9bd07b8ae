#include "handoff/uv/raw_handles.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/clock.h"
#include "core/error.h"
#include "handoff/uv/uv_error.h"

namespace liveexec::uv {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;

// libuv links requests through `queue`, whose [0] is the next link; the list's head is in the
// stream.

template <typename Visit>
void ForEachWrite(const uv_stream_t* stream, Visit visit) {
  const auto* head = reinterpret_cast<void* const*>(&stream->write_queue);
  for (auto* link = static_cast<void**>(head[0]); link != head;
       link = static_cast<void**>(link[0])) {
    auto* bytes = reinterpret_cast<char*>(link) - offsetof(uv_write_t, queue);
    visit(*reinterpret_cast<const uv_write_t*>(bytes));
  }
}

// Gives the fd to `open`, which makes the handle own it.
template <typename Handle, typename Open>
absl::Status OpenHandle(UniqueFd fd, Handle* handle, std::string_view what, Open open) {
  if (const int error = open(fd.get()); error < 0) {
    uv_close(reinterpret_cast<uv_handle_t*>(handle), nullptr);
    return UvError(error, what);
  }
  (void)fd.release();
  return absl::OkStatus();
}

}  // namespace

absl::Status CarryHandle(ExportContext& context, std::string_view role, uint64_t number,
                         const uv_handle_t* handle) {
  uv_os_fd_t fd = -1;
  if (const int error = uv_fileno(handle, &fd); error < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a ", uv_handle_type_name(uv_handle_get_type(handle)),
                     " handle has no fd to carry: ", uv_strerror(error)));
  }
  return context.CarryFd(role, number, fd);
}

absl::Status AdoptTcp(ImportContext& context, std::string_view role, uint64_t number,
                      uv_loop_t* loop, uv_tcp_t* handle) {
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd(role, number));
  LIVEEXEC_RETURN_IF_ERROR(UvError(uv_tcp_init(loop, handle), "uv_tcp_init"));
  return OpenHandle(std::move(fd), handle, "uv_tcp_open",
                    [&](int raw) { return uv_tcp_open(handle, raw); });
}

absl::Status AdoptPipe(ImportContext& context, std::string_view role, uint64_t number,
                       uv_loop_t* loop, uv_pipe_t* handle) {
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd(role, number));
  LIVEEXEC_RETURN_IF_ERROR(UvError(uv_pipe_init(loop, handle, 0), "uv_pipe_init"));
  return OpenHandle(std::move(fd), handle, "uv_pipe_open",
                    [&](int raw) { return uv_pipe_open(handle, raw); });
}

absl::Status AdoptTty(ImportContext& context, std::string_view role, uint64_t number,
                      uv_loop_t* loop, uv_tty_t* handle) {
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd(role, number));
  LIVEEXEC_RETURN_IF_ERROR(UvError(uv_tty_init(loop, handle, fd.get(), 0), "uv_tty_init"));
  // uv_tty_init opens the terminal anew where it can, so that its O_NONBLOCK is not ours; it then
  // leaves our fd to us.
  uv_os_fd_t own = -1;
  if (uv_fileno(reinterpret_cast<uv_handle_t*>(handle), &own) == 0 && own == fd.get()) {
    (void)fd.release();
  }
  return absl::OkStatus();
}

absl::Status AdoptUdp(ImportContext& context, std::string_view role, uint64_t number,
                      uv_loop_t* loop, uv_udp_t* handle) {
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd(role, number));
  LIVEEXEC_RETURN_IF_ERROR(UvError(uv_udp_init(loop, handle), "uv_udp_init"));
  return OpenHandle(std::move(fd), handle, "uv_udp_open",
                    [&](int raw) { return uv_udp_open(handle, raw); });
}

absl::Status AdoptPoll(ImportContext& context, std::string_view role, uint64_t number,
                       uv_loop_t* loop, uv_poll_t* handle, UniqueFd& fd) {
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd taken, context.TakeFd(role, number));
  LIVEEXEC_RETURN_IF_ERROR(UvError(uv_poll_init(loop, handle, taken.get()), "uv_poll_init"));
  fd = std::move(taken);
  return absl::OkStatus();
}

absl::StatusOr<std::string> UnsentBytes(const uv_stream_t* stream) {
  std::string unsent;
  ForEachWrite(stream, [&](const uv_write_t& request) {
    // libuv shortens the first buffer that is not sent whole, and counts those before it.
    for (unsigned i = request.write_index; i < request.nbufs; ++i) {
      unsent.append(request.bufs[i].base, request.bufs[i].len);
    }
  });
  const size_t expected = uv_stream_get_write_queue_size(stream);
  if (unsent.size() != expected) {
    return absl::InternalError(absl::StrCat("libuv ", uv_version_string(), " queues ", expected,
                                            " bytes, of which ", unsent.size(), " were found"));
  }
  return unsent;
}

int UnsentWrites(const uv_stream_t* stream) {
  int count = 0;
  ForEachWrite(stream, [&](const uv_write_t&) { ++count; });
  return count;
}

int64_t TimerDeadline(const uv_timer_t* timer) {
  if (!uv_is_active(reinterpret_cast<const uv_handle_t*>(timer))) return -1;
  // From the loop's own clock, which may lag behind: the time that it will compare with.
  const auto due_in = static_cast<int64_t>(uv_timer_get_due_in(timer));
  const auto loop_now = static_cast<int64_t>(uv_now(timer->loop));
  return (loop_now + due_in) * kNsPerMs;
}

absl::Status StartTimerAt(uv_timer_t* timer, int64_t deadline_ns, uint64_t repeat_ms,
                          uv_timer_cb callback) {
  if (deadline_ns < 0) return absl::OkStatus();
  const int64_t left = std::max<int64_t>(deadline_ns - MonotonicNs(), 0);
  uv_update_time(timer->loop);
  return UvError(uv_timer_start(timer, callback,
                                static_cast<uint64_t>((left + kNsPerMs - 1) / kNsPerMs), repeat_ms),
                 "uv_timer_start");
}

}  // namespace liveexec::uv
