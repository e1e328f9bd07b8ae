// The driver behind ./dev demo: see docs and README for what it shows.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>

#include "CLI/CLI.hpp"
#include "tests/demo/demo_options.h"
#include "tests/demo/demo_run.h"
#include "tests/demo/report.h"
#include "tests/harness/random.h"

namespace liveexec::demo {
namespace {

// The programs are built beside this one.
void AddDefaults(DemoOptions& options) {
  std::error_code ignored;
  const std::string root = std::filesystem::canonical("/proc/self/exe", ignored)
                               .parent_path()
                               .parent_path()
                               .parent_path()
                               .string();
  if (options.servers.empty()) {
    for (const char* name : {"demo-server-v0", "demo-server", "demo-server-v2"}) {
      options.servers.push_back(root + "/demo-server/" + name);
    }
  }
  if (options.liveexec.empty()) options.liveexec = root + "/handoff/cli/liveexec";
  if (options.seed == 0) options.seed = harness::FreshSeed();
}

// A connection each, here and in the server, which inherits the limit.
bool RaiseFileLimit(int connections) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t needed = static_cast<rlim_t>(connections) + 200;
  if (limit.rlim_cur >= needed) return true;
  limit.rlim_cur = std::min(limit.rlim_max, needed);
  return limit.rlim_cur == needed && setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

int RunDemo(const DemoOptions& options) {
  if (!RaiseFileLimit(options.idle + options.busy)) {
    std::fprintf(stderr, "demo: %d connections need a higher limit of open files (ulimit -Hn)\n",
                 options.idle + options.busy);
    return 2;
  }
  TerminalReport report(options);
  auto result = DemoRun(options, report).Run();
  if (!result.ok()) {
    std::printf("\n");
    std::fprintf(stderr, "demo: %s\n", std::string(result.status().message()).c_str());
    return 2;
  }
  report.PrintSummary(*result);
  if (!options.json_file.empty()) {
    if (const absl::Status written = WriteJson(*result, options.json_file); !written.ok()) {
      std::fprintf(stderr, "demo: %s\n", std::string(written.message()).c_str());
      return 2;
    }
  }
  return result->ok() ? 0 : 1;
}

}  // namespace
}  // namespace liveexec::demo

int main(int argc, char** argv) {
  liveexec::demo::DemoOptions options;
  CLI::App app(
      "Upgrades a loaded server again and again, and shows what its clients saw of it.\n"
      "Exit code: 0 when nobody noticed, 1 when somebody did, 2 when the demo could not run.",
      "./dev demo");
  app.add_option("--upgrades", options.upgrades, "How many")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--idle", options.idle, "Idle connections")
      ->capture_default_str()
      ->check(CLI::Range(0, 100000));
  app.add_option("--busy", options.busy,
                 "Busy connections: half redis-benchmark's, half checking clients")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  app.add_option("--threads", options.threads, "The server's threads")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  app.add_option("--seed", options.seed, "Repeats a run's requests, payloads and cuts");
  app.add_option("--json", options.json_file, "Also write the result to this file");
  app.add_option("--server", options.servers, "Paths of the versions v0,v1,v2; v1 is started")
      ->delimiter(',')
      ->expected(3);
  app.add_option("--liveexec", options.liveexec, "Path of the liveexec command");
  CLI11_PARSE(app, argc, argv);
  liveexec::demo::AddDefaults(options);
  return liveexec::demo::RunDemo(options);
}
