#include "demo-server/run.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>
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
#include "handoff/uv/signal_watchers.h"

namespace liveexec::demo {
namespace {

// As many connections as the system allows.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// What a parent has closed of stdin, stdout and stderr would become fds of the loop, which neither
// cross nor like to be closed.
void OpenStandardFds() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    // The lowest that is free: this one, as all below are open.
    if (fcntl(fd, F_GETFD) < 0) (void)open("/dev/null", O_RDWR);
  }
}

absl::Status ServeOn(uv_loop_t* loop, const Options& options, const StateFormat& format,
                     Component* addition) {
  uv::LoopExecutor executor(loop);
  LIVEEXEC_RETURN_IF_ERROR(executor.status());
  UpgraderOptions upgrader_options;
  upgrader_options.control_socket = options.control;
  upgrader_options.upgrade_binary = options.upgrade_binary;
  LIVEEXEC_ASSIGN_OR_RETURN(auto upgrader, Upgrader::Create(executor, upgrader_options));
  if (addition != nullptr) LIVEEXEC_RETURN_IF_ERROR(upgrader->Register(*addition));
  // SIGTERM and SIGINT end the server. Before any thread is started, which inherits their being
  // blocked; delivered once the server has started, also what came during the upgrade to it.
  Server* serving = nullptr;
  uv::SignalWatchers signals("signals", executor);
  for (int signo : {SIGTERM, SIGINT}) {
    LIVEEXEC_RETURN_IF_ERROR(signals.Watch(signo, [&serving](const signalfd_siginfo&) {
      if (serving != nullptr) serving->Stop();
    }));
  }
  LIVEEXEC_RETURN_IF_ERROR(upgrader->Register(signals));
  absl::Status served;
  auto serve = [&](absl::Span<uv::LoopExecutor* const> threads) {
    std::vector<uv::LoopExecutor*> loops = {&executor};
    loops.insert(loops.end(), threads.begin(), threads.end());
    Server server(options, format, *upgrader, std::move(loops));
    serving = &server;
    served = server.Start();
    if (!served.ok()) return;
    uv_run(loop, UV_RUN_DEFAULT);
    serving = nullptr;
  };
  LIVEEXEC_RETURN_IF_ERROR(uv::WithLoopThreads(*upgrader, options.threads - 1, serve));
  return served;
}

}  // namespace

int Run(int argc, char** argv, const StateFormat& format, Component* addition) {
  const ParsedOptions parsed = ParseOptions(argc, argv, format.version());
  if (parsed.exit_code.has_value()) return *parsed.exit_code;
  OpenStandardFds();
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
