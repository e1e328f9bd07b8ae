// ControlConnection: one client of the control socket: its bytes in both directions, never
// blocking.
//
// A value that ControlServer keeps; it knows frames, not what they mean. Times are the server's
// clock.
#ifndef LIVEEXEC_HANDOFF_CONTROL_CONNECTION_H_
#define LIVEEXEC_HANDOFF_CONTROL_CONNECTION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "handoff/control_frame.h"

namespace liveexec {

struct ControlConnection {
  // Over this many unsent bytes, no more requests are read or answered.
  static constexpr size_t kBackpressure = 256 << 10;
  // Over this many the client is dropped; room for one longest answer and what backpressure lets
  // through.
  static constexpr size_t kMaxUnsent = 2 * kMaxResponseFrame;

  uint64_t id = 0;
  UniqueFd fd;
  FrameBuffer input{kMaxRequestFrame};
  std::string unsent;
  std::optional<uint64_t> waits;  // the id of the upgrade request that it waits for
  bool no_more_input = false;     // the client closed its sending half
  bool closing = false;           // to be closed once `unsent` is sent; nothing is read any more
  bool dead = false;              // to be dropped now
  absl::Duration last_active;     // the last byte in either direction
  std::optional<absl::Duration> frame_started;  // the first byte of a frame that is not whole

  // Takes what the kernel has, up to 64 KiB. Ends the input at EOF, dies on an error.
  void Receive(absl::Duration now);
  // Gives the kernel what it takes. Dies on an error.
  void Flush(absl::Duration now);
  // Queues `frame`; dies when too much is queued.
  void Queue(std::string frame);

  bool wants_input() const {
    return !dead && !closing && !no_more_input && unsent.size() <= kBackpressure;
  }
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONTROL_CONNECTION_H_
