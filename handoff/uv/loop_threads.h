// WithLoopThreads: further threads, each running a libuv loop, for as long as a closure runs.
//
//   WithLoopThreads(*upgrader, 3, [&](absl::Span<LoopExecutor* const> threads) {
//     std::vector<LoopExecutor*> loops = {&main_executor};
//     loops.insert(loops.end(), threads.begin(), threads.end());
//     StreamServer server({.name = "clients", .loops = loops, ...});
//     upgrader->Register(server);
//     upgrader->Start();
//     uv_run(&main_loop, UV_RUN_DEFAULT);
//   });
//
// There is no object to leak: when `body` returns, the threads are taken from the upgrader, stopped
// and joined. The new program after an upgrade may ask for another number of them.
//
// Every thread runs with all signals blocked, so that those for the process reach the main thread
// or a signalfd.
#ifndef LIVEEXEC_HANDOFF_UV_LOOP_THREADS_H_
#define LIVEEXEC_HANDOFF_UV_LOOP_THREADS_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "handoff/upgrader.h"
#include "handoff/uv/loop_executor.h"

namespace liveexec::uv {

// Makes `n` (0 to 1024) loops with a thread each, registers them with `upgrader`, and runs `body`
// on this thread. The executors are valid until `body` returns. An error, before `body` is called:
// InvalidArgument, or the system has no fds or threads left.
absl::Status WithLoopThreads(Upgrader& upgrader, int n,
                             absl::FunctionRef<void(absl::Span<LoopExecutor* const>)> body);

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_LOOP_THREADS_H_
