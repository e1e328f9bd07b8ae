// For servers that have libuv handles of their own and keep them: carry the handles' fds and what
// libuv holds for them, and make handles over the carried fds in the new program.
//
//   absl::Status Export(ExportContext& context) const override {
//     auto image = context.InitRoot<Image>();
//     image.setUnsent(capnp::Data::Reader(...UnsentBytes(stream)...));
//     return CarryHandle(context, "client", 17, reinterpret_cast<const uv_handle_t*>(&tcp_));
//   }
//   absl::Status Rehydrate(ImportContext& context) override {
//     return AdoptTcp(context, "client", 17, loop, &tcp_);
//   }
//   void Activate() override { ... }   // uv_write the unsent bytes, uv_read_start
//
// A handle's requests do not survive exec, so LoopExecutor::OperationsInFlight waits for them; for
// writes whose bytes are exported, tell LoopExecutor::SetCarriedOperations. Unread input is the
// application's: libuv keeps none. All functions belong to the handle's loop thread, or to the main
// thread while that is parked.
#ifndef LIVEEXEC_HANDOFF_UV_RAW_HANDLES_H_
#define LIVEEXEC_HANDOFF_UV_RAW_HANDLES_H_

#include <uv.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "handoff/component.h"

namespace liveexec::uv {

// Carries the fd of a TCP, pipe, TTY, UDP or poll handle. InvalidArgument: another kind, or it has
// no fd yet.
absl::Status CarryHandle(ExportContext& context, std::string_view role, uint64_t number,
                         const uv_handle_t* handle);

// Initialize `handle` on `loop` over the carried fd, which it owns from then on (AdoptPoll: `fd`
// does). On an error of TakeFd the handle is untouched; on one of libuv it is being closed, and the
// fd is closed. A listening socket needs uv_listen() again, which keeps its queue.
absl::Status AdoptTcp(ImportContext& context, std::string_view role, uint64_t number,
                      uv_loop_t* loop, uv_tcp_t* handle);
absl::Status AdoptPipe(ImportContext& context, std::string_view role, uint64_t number,
                       uv_loop_t* loop, uv_pipe_t* handle);
absl::Status AdoptTty(ImportContext& context, std::string_view role, uint64_t number,
                      uv_loop_t* loop, uv_tty_t* handle);
absl::Status AdoptUdp(ImportContext& context, std::string_view role, uint64_t number,
                      uv_loop_t* loop, uv_udp_t* handle);
absl::Status AdoptPoll(ImportContext& context, std::string_view role, uint64_t number,
                       uv_loop_t* loop, uv_poll_t* handle, UniqueFd& fd);

// The bytes given to uv_write on `stream` that the kernel has not taken, in order. Internal:
// libuv's queue is not as this library knows it.
absl::StatusOr<std::string> UnsentBytes(const uv_stream_t* stream);
// How many write requests that is: what SetCarriedOperations has to account for.
int UnsentWrites(const uv_stream_t* stream);

// A timer's deadline as a point of CLOCK_MONOTONIC in nanoseconds, which is the same clock after
// exec; -1 when it is not running.
int64_t TimerDeadline(const uv_timer_t* timer);
// Starts `timer` for that point (at once if it has passed). `repeat_ms` as for uv_timer_start. -1:
// does nothing.
absl::Status StartTimerAt(uv_timer_t* timer, int64_t deadline_ns, uint64_t repeat_ms,
                          uv_timer_cb callback);

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_RAW_HANDLES_H_
