// Pipes: named streams over fds that the application opened itself: both ends of pipes and FIFOs,
// TTYs, socketpairs, sockets that it connected. Each is a Stream (stream.h), so what was read and
// not consumed, and what was written and not taken by the kernel, crosses an upgrade.
//
//   Pipes pipes("pipes", executor,
//               [&](std::string_view pipe, Stream&) { return MakeHandler(pipe); });
//   if (upgrader->fresh()) pipes.Open("stdin", UniqueFd(dup(0)));
//
// A TTY's modes are the kernel's and stay as they are. All methods are on the executor's thread. A
// pipe whose handler closes it is gone, and its name free again.
#ifndef LIVEEXEC_HANDOFF_UV_PIPES_H_
#define LIVEEXEC_HANDOFF_UV_PIPES_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream.h"

namespace liveexec::uv {

class StreamLoop;

class Pipes final : public Component {
 public:
  using MakeHandler =
      std::function<std::unique_ptr<StreamHandler>(std::string_view pipe, Stream& stream)>;

  // Makes the process ignore SIGPIPE, unless it handles it: a write to a pipe without a reader
  // would kill it.
  Pipes(std::string name, LoopExecutor& executor, MakeHandler make_handler);
  ~Pipes() override;

  // Takes `fd`, makes it non-blocking and CLOEXEC, and reads from it if its access mode allows,
  // from Activate on. All who share its open file description see it non-blocking: the other
  // programs on a terminal, for example, unless the fd is an open("/dev/tty") of its own.
  // AlreadyExists: the name is in use. PermissionDenied: epoll cannot watch it (a plain file).
  absl::Status Open(std::string_view pipe, UniqueFd fd);

  // The open stream of that name, or null.
  Stream* Find(std::string_view pipe) const;

  std::string_view name() const override { return name_; }
  absl::Status Quiesce() override;
  absl::Status Export(ExportContext& context) const override;
  void Resume() override;
  absl::Status Rehydrate(ImportContext& context) override;
  void Activate() override;

 private:
  const std::string name_;
  const MakeHandler make_handler_;
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::string> names_;  // by stream id
  StreamLoop* streams_;  // owned; deletes itself when the loop has closed its handles
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_PIPES_H_
