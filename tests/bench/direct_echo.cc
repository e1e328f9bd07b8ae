// examples/echo.cc without upgrades: the same streams, started by a DirectUpgrader.
#include <signal.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream_server.h"
#include "tests/bench/direct_upgrader.h"

namespace {

class Echo : public liveexec::uv::StreamHandler {
  size_t OnInput(liveexec::uv::Stream& stream, std::string_view input) override {
    stream.Write(input).IgnoreError();
    return input.size();
  }
};

absl::Status Serve(const char* port) {
  liveexec::uv::LoopExecutor executor(uv_default_loop());
  liveexec::bench::DirectUpgrader upgrader;
  liveexec::uv::StreamServer clients(
      {.name = "clients", .loops = {&executor}, .make_handler = [](liveexec::uv::Stream&) {
         return std::make_unique<Echo>();
       }});
  absl::Status status = upgrader.Register(clients);
  if (status.ok()) status = clients.ListenTcp("127.0.0.1", atoi(port)).status();
  if (status.ok()) status = upgrader.Start();
  if (!status.ok()) return status;
  printf("listening on tcp 127.0.0.1:%d\n", clients.listening()[0].port);
  fflush(stdout);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  const absl::Status status = Serve(argc > 1 ? argv[1] : "0");
  fprintf(stderr, "direct_echo: %s\n", status.ToString().c_str());
  return 1;
}
