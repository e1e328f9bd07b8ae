// SignalWatchers: signals as loop events, none of which an upgrade loses.
//
//   SignalWatchers signals("signals", executor);       // before any thread is started
//   signals.Watch(SIGTERM, [&](const signalfd_siginfo&) { uv_stop(executor.loop()); });
//
// A watched signal is blocked and read from a signalfd, so what arrives during an upgrade waits in
// the kernel for the new program, whose mask stays blocked for it (handoff/signal_mask.h). libuv's
// own uv_signal_t takes signals into a pipe in the process, and would lose what is in it at exec.
//
// Watch() blocks the signal in the calling thread; threads started later inherit that, earlier ones
// do not and would take the signal's default action. So: watch on the main thread, before starting
// others, and before Upgrader::Start. Two signals of the same number that are pending together are
// one (POSIX; real-time signals are queued). SIGHUP belongs to the upgrader unless UpgraderOptions
// says otherwise.
#ifndef LIVEEXEC_HANDOFF_UV_SIGNAL_WATCHERS_H_
#define LIVEEXEC_HANDOFF_UV_SIGNAL_WATCHERS_H_

#include <signal.h>
#include <sys/signalfd.h>
#include <uv.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/poll_handle.h"

namespace liveexec::uv {

class SignalWatchers final : public Component {
 public:
  using Callback = std::function<void(const signalfd_siginfo& info)>;

  SignalWatchers(std::string name, LoopExecutor& executor);
  // Signals stay blocked: to unblock a pending one would deliver it.
  ~SignalWatchers() override;

  // Runs `callback` on the executor's thread for each `signo`, from Activate on. A second call for
  // a signal replaces the first. InvalidArgument: SIGKILL, SIGSTOP, a signal that a fault raises,
  // or no signal.
  absl::Status Watch(int signo, Callback callback);

  std::string_view name() const override { return name_; }
  absl::Status Export(ExportContext& context) const override;
  absl::Status Rehydrate(ImportContext& context) override;
  void Activate() override;

 private:
  void OnReadable();
  absl::Status StartPolling();

  const std::string name_;
  LoopExecutor& executor_;
  sigset_t watched_;
  UniqueFd fd_;
  PollHandle poll_;
  bool serving_ = false;
  std::map<int, Callback> callbacks_;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_SIGNAL_WATCHERS_H_
