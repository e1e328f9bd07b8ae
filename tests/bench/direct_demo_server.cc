// demo-server without upgrades: the same engine and streams on one loop, started by a
// DirectUpgrader.
#include <signal.h>
#include <uv.h>

#include <cstdio>
#include <vector>

#include "demo-server/options.h"
#include "demo-server/server.h"
#include "demo-server/state/state_format.h"
#include "handoff/uv/loop_executor.h"
#include "tests/bench/direct_upgrader.h"

int main(int argc, char** argv) {
  using namespace liveexec;  // NOLINT: main() is in no namespace.
  const demo::StateFormat& format = demo::StateFormatV1();
  const demo::ParsedOptions parsed = demo::ParseOptions(argc, argv, format.version());
  if (parsed.exit_code.has_value()) return *parsed.exit_code;
  signal(SIGPIPE, SIG_IGN);
  uv_loop_t loop;
  uv_loop_init(&loop);
  uv::LoopExecutor executor(&loop);
  bench::DirectUpgrader upgrader;
  demo::Server server(parsed.options, format, upgrader, {&executor});
  const absl::Status status = server.Start();
  if (!status.ok()) {
    fprintf(stderr, "direct_demo_server: %s\n", status.ToString().c_str());
    return 1;
  }
  return uv_run(&loop, UV_RUN_DEFAULT);
}
