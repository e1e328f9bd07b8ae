// A server that has every ready-made component, each with something in it: what recordings of the
// framework's own images are made of.
//
//   every_component CONTROL DIRECTORY
//
// It echoes on TCP, UNIX and UDP sockets; prints "listening on tcp 127.0.0.1:PORT udp PORT".
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include <uv.h>

#include <cstdio>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/unique_fd.h"
#include "handoff/program_note.h"
#include "handoff/upgrader.h"
#include "handoff/uv/child_processes.h"
#include "handoff/uv/files.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/pipes.h"
#include "handoff/uv/signal_watchers.h"
#include "handoff/uv/stream_server.h"
#include "handoff/uv/timers.h"
#include "handoff/uv/udp_sockets.h"

LIVEEXEC_APPLICATION("every-component", "1.0.0");
LIVEEXEC_COMPONENT("streams", 1, 1);
LIVEEXEC_COMPONENT("timers", 1, 1);
LIVEEXEC_COMPONENT("signals", 1, 1);
LIVEEXEC_COMPONENT("children", 1, 1);
LIVEEXEC_COMPONENT("udp", 1, 1);
LIVEEXEC_COMPONENT("pipes", 1, 1);
LIVEEXEC_COMPONENT("files", 1, 1);

namespace liveexec::compat {
namespace {

class Echo : public uv::StreamHandler {
  size_t OnInput(uv::Stream& stream, std::string_view input) override {
    stream.Write(input).IgnoreError();
    return input.size();
  }
};

// Leaves in the queue what does not end in a newline.
class LineReader : public uv::StreamHandler {
  size_t OnInput(uv::Stream&, std::string_view input) override {
    const size_t end = input.rfind('\n');
    return end == std::string_view::npos ? 0 : end + 1;
  }
};

class Server {
 public:
  Server() = default;
  absl::Status Start(const char* control, const std::string& directory) {
    LIVEEXEC_ASSIGN_OR_RETURN(upgrader_, Upgrader::Create(executor_, {.control_socket = control}));
    timers_.Define("far", [](uint64_t) {});
    timers_.Define("beat", [](uint64_t) {});
    udp_.Define("echo", [this](const uv::Datagram& datagram) {
      udp_.Send("echo", datagram.bytes, datagram.peer).IgnoreError();
    });
    LIVEEXEC_RETURN_IF_ERROR(signals_.Watch(SIGUSR1, [](const signalfd_siginfo&) {}));
    for (Component* component :
         {static_cast<Component*>(&streams_), static_cast<Component*>(&timers_),
          static_cast<Component*>(&signals_), static_cast<Component*>(&children_),
          static_cast<Component*>(&udp_), static_cast<Component*>(&pipes_),
          static_cast<Component*>(&files_)})
      LIVEEXEC_RETURN_IF_ERROR(upgrader_->Register(*component));
    if (upgrader_->fresh()) {
      LIVEEXEC_RETURN_IF_ERROR(Fill(directory));
    }
    return upgrader_->Start();
  }

  absl::Status Announce() {
    LIVEEXEC_ASSIGN_OR_RETURN(const uv::SocketAddress address, udp_.address("echo"));
    std::printf("listening on tcp 127.0.0.1:%d udp %s\n", streams_.listening()[0].port,
                address.ToString().c_str());
    std::fflush(stdout);
    return absl::OkStatus();
  }

 private:
  absl::Status Fill(const std::string& directory) {
    LIVEEXEC_RETURN_IF_ERROR(streams_.ListenTcp("127.0.0.1", 0).status());
    LIVEEXEC_RETURN_IF_ERROR(streams_.ListenUnix(directory + "/socket", 0600));
    LIVEEXEC_RETURN_IF_ERROR(udp_.Bind("echo", "127.0.0.1", 0).status());
    LIVEEXEC_RETURN_IF_ERROR(timers_.Start("far", 7, absl::Hours(10)));
    LIVEEXEC_RETURN_IF_ERROR(timers_.Start("beat", 0, absl::Hours(1), absl::Hours(1)));
    LIVEEXEC_RETURN_IF_ERROR(
        children_.Spawn({.argv = {"/bin/sleep", "600"}, .tag = "sleeper"}).status());
    LIVEEXEC_RETURN_IF_ERROR(
        files_.Open("log", directory + "/file", O_WRONLY | O_CREAT | O_APPEND));
    LIVEEXEC_RETURN_IF_ERROR(files_.Append("log", "a line\n"));
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
    UniqueFd writer(ends[1]);
    LIVEEXEC_RETURN_IF_ERROR(pipes_.Open("lines", UniqueFd(ends[0])));
    if (write(writer.get(), "half a line", 11) != 11) return ErrnoError(errno, "pipe");
    return pipes_.Open("writer", std::move(writer));
  }

  uv::LoopExecutor executor_{uv_default_loop()};
  std::unique_ptr<Upgrader> upgrader_;
  uv::StreamServer streams_{{.name = "streams",
                             .loops = {&executor_},
                             .make_handler = [](uv::Stream&) { return std::make_unique<Echo>(); }}};
  uv::Timers timers_{"timers", executor_};
  uv::SignalWatchers signals_{"signals", executor_};
  uv::ChildProcesses children_{"children", executor_, [](const uv::ChildExit&) {}};
  uv::UdpSockets udp_{"udp", executor_};
  uv::Pipes pipes_{"pipes", executor_,
                   [](std::string_view, uv::Stream&) { return std::make_unique<LineReader>(); }};
  uv::Files files_{"files"};
};

absl::Status Serve(const char* control, const std::string& directory) {
  Server server;
  LIVEEXEC_RETURN_IF_ERROR(server.Start(control, directory));
  LIVEEXEC_RETURN_IF_ERROR(server.Announce());
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  return absl::OkStatus();
}

}  // namespace
}  // namespace liveexec::compat

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc != 3) {
    std::fprintf(stderr, "usage: every_component CONTROL DIRECTORY\n");
    return 2;
  }
  const absl::Status status = liveexec::compat::Serve(argv[1], argv[2]);
  if (!status.ok()) std::fprintf(stderr, "every_component: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
