// What a StreamServer has on each of its loops. Private to its two source files.
#ifndef LIVEEXEC_HANDOFF_UV_SERVER_LOOP_H_
#define LIVEEXEC_HANDOFF_UV_SERVER_LOOP_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/unique_fd.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream_loop.h"
#include "handoff/uv/stream_server.h"

namespace liveexec::uv {

// An accepted connection that its loop has not adopted yet.
struct StreamServer::Waiting {
  uint64_t id;
  uint32_t listener;
  UniqueFd fd;
};

struct StreamServer::Loop {
  Loop(LoopExecutor& its_executor, StreamLoop* its_streams)
      : executor(its_executor), streams(its_streams) {}

  // Main thread. True when the loop has to be told.
  bool AddWaiting(Waiting one) {
    std::lock_guard<std::mutex> lock(mutex);
    waiting.push_back(std::move(one));
    return waiting.size() == 1;
  }

  // Loop's thread.
  std::vector<Waiting> TakeWaiting() {
    std::lock_guard<std::mutex> lock(mutex);
    return std::exchange(waiting, {});
  }

  LoopExecutor& executor;
  StreamLoop* const streams;  // ended by Shutdown() on the loop's thread
  // For tasks on the loop that may come after that; loop's thread.
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  std::mutex mutex;
  std::vector<Waiting> waiting;  // guarded by mutex
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_SERVER_LOOP_H_
