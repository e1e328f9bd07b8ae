// InitPoll: uv_poll_init for an fd that is known to be fit for it.
//
// uv_poll_init makes three system calls: it puts the fd into epoll and takes it out again, to see
// whether epoll takes it, and makes it non-blocking. For a socket that was accepted non-blocking,
// or crossed from a program that had it in a loop, all three say what is known; and in a blackout
// there is one such handle for each busy connection.
#ifndef LIVEEXEC_HANDOFF_UV_POLL_INIT_H_
#define LIVEEXEC_HANDOFF_UV_POLL_INIT_H_

#include <uv.h>

namespace liveexec::uv {

// `fd` (borrowed) is a socket, and non-blocking. Returns what uv_poll_init would: 0, or UV_EEXIST
// when the loop watches that number already. The handle is in the same state as after uv_poll_init.
//
// The first handle of a process is made by uv_poll_init itself, and compared with what would be
// made here; if this libuv makes them otherwise, it goes on making them all. Loop's thread, or
// while that is parked.
int InitPoll(uv_loop_t* loop, uv_poll_t* handle, int fd);

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_POLL_INIT_H_
