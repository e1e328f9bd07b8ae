// An echo server whose connections survive its upgrades.
//
//   echo PORT CONTROL        then, after each new build:  kill -HUP PID
//                            or:  liveexec upgrade --control CONTROL
#include <signal.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>

#include "handoff/program_note.h"
#include "handoff/upgrader.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream_server.h"

LIVEEXEC_APPLICATION("echo", "1.0.0");
LIVEEXEC_COMPONENT("clients", 1, 1);

namespace {

class Echo : public liveexec::uv::StreamHandler {
  size_t OnInput(liveexec::uv::Stream& stream, std::string_view input) override {
    stream.Write(input).IgnoreError();
    return input.size();
  }
  bool MayGoCold() const override { return true; }  // nothing but the stream: see stream.h
};

absl::Status Serve(const char* port, const char* control) {
  liveexec::uv::LoopExecutor executor(uv_default_loop());
  auto upgrader = liveexec::Upgrader::Create(executor, {.control_socket = control});
  if (!upgrader.ok()) return upgrader.status();
  liveexec::uv::StreamServer clients(
      {.name = "clients", .loops = {&executor}, .make_handler = [](liveexec::uv::Stream&) {
         return std::make_unique<Echo>();
       }});
  absl::Status status = (*upgrader)->Register(clients);
  if (status.ok() && (*upgrader)->fresh()) {
    status = clients.ListenTcp("127.0.0.1", atoi(port)).status();
  }
  if (status.ok()) status = (*upgrader)->Start();
  if (!status.ok()) return status;
  printf("listening on tcp 127.0.0.1:%d\n", clients.listening()[0].port);
  fflush(stdout);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  absl::Status status = Serve(argc > 1 ? argv[1] : "7000", argc > 2 ? argv[2] : "");
  fprintf(stderr, "echo: %s\n", status.ToString().c_str());
  return 1;
}
