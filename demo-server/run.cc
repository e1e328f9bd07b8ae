#include "demo-server/run.h"

#include <sys/resource.h>
#include <uv.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/error.h"
#include "demo-server/options.h"
#include "demo-server/server.h"
#include "handoff/component.h"
#include "handoff/upgrader.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/loop_threads.h"

namespace liveexec::demo {
namespace {

// As many connections as the system allows.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// SIGTERM and SIGINT end the server.
class StopSignals {
 public:
  StopSignals(uv_loop_t* loop, Server& server) {
    for (uv_signal_t*& handle : handles_) {
      handle = new uv_signal_t;
      uv_signal_init(loop, handle);
      handle->data = &server;
    }
    auto stop = [](uv_signal_t* handle, int) { static_cast<Server*>(handle->data)->Stop(); };
    uv_signal_start(handles_[0], stop, SIGTERM);
    uv_signal_start(handles_[1], stop, SIGINT);
  }
  ~StopSignals() {
    for (uv_signal_t* handle : handles_) {
      uv_close(reinterpret_cast<uv_handle_t*>(handle),
               [](uv_handle_t* closed) { delete reinterpret_cast<uv_signal_t*>(closed); });
    }
  }

 private:
  uv_signal_t* handles_[2];
};

absl::Status ServeOn(uv_loop_t* loop, const Options& options, const StateFormat& format,
                     Component* addition) {
  uv::LoopExecutor executor(loop);
  LIVEEXEC_RETURN_IF_ERROR(executor.status());
  UpgraderOptions upgrader_options;
  upgrader_options.control_socket = options.control;
  upgrader_options.upgrade_binary = options.upgrade_binary;
  LIVEEXEC_ASSIGN_OR_RETURN(auto upgrader, Upgrader::Create(executor, upgrader_options));
  if (addition != nullptr) LIVEEXEC_RETURN_IF_ERROR(upgrader->Register(*addition));
  absl::Status served;
  auto serve = [&](absl::Span<uv::LoopExecutor* const> threads) {
    std::vector<uv::LoopExecutor*> loops = {&executor};
    loops.insert(loops.end(), threads.begin(), threads.end());
    Server server(options, format, *upgrader, std::move(loops));
    // Before it starts: a stop signal that came during an upgrade is delivered as soon as that is
    // committed.
    StopSignals signals(loop, server);
    served = server.Start();
    if (!served.ok()) return;
    uv_run(loop, UV_RUN_DEFAULT);
  };
  LIVEEXEC_RETURN_IF_ERROR(uv::WithLoopThreads(*upgrader, options.threads - 1, serve));
  return served;
}

}  // namespace

int Run(int argc, char** argv, const StateFormat& format, Component* addition) {
  const ParsedOptions parsed = ParseOptions(argc, argv, format.version());
  if (parsed.exit_code.has_value()) return *parsed.exit_code;
  signal(SIGPIPE, SIG_IGN);
  RaiseFileLimit();
  uv_loop_t loop;
  uv_loop_init(&loop);
  absl::Status status = ServeOn(&loop, parsed.options, format, addition);
  if (status.ok()) status = uv::CloseLoop(&loop);
  if (status.ok()) return 0;
  fprintf(stderr, "demo-server: %s\n", status.ToString().c_str());
  return 1;
}

}  // namespace liveexec::demo
