// ./dev drift: one process upgraded thousands of times, and what the kernel holds for it before and
// after.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "tests/drift/drift_run.h"

int main(int argc, char** argv) {
  liveexec::drift::DriftOptions options;
  CLI::App app("Upgrades one demo-server many times; exits 1 when anything of it has drifted");
  app.add_option("--upgrades", options.upgrades, "how often")
      ->check(CLI::Range(options.warm_up + 1, 10'000'000))
      ->capture_default_str();
  app.add_option("--samples", options.samples, "how often to measure")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "of the server")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--clients", options.clients, "that keep their connections")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const auto report = liveexec::drift::RunDrift(options, [](const liveexec::drift::Sample& sample) {
    printf("%d upgrades: %zu fds, %lld KiB resident, %d threads\n", sample.upgrade,
           sample.snapshot.fds.size(), static_cast<long long>(sample.snapshot.resident_bytes >> 10),
           sample.snapshot.threads);
    fflush(stdout);
  });
  if (!report.ok()) {
    fprintf(stderr, "drift: %s\n", report.status().ToString().c_str());
    return 2;
  }
  printf("\n%s", report->ToString().c_str());
  return report->findings.empty() ? 0 : 1;
}
