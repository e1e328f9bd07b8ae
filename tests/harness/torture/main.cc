// liveexec-torture: see docs/testing.md.
#include <sys/resource.h>

#include <cstdio>

#include "tests/harness/torture/command_line.h"
#include "tests/harness/torture/report.h"
#include "tests/harness/torture/terminal.h"
#include "tests/harness/torture/torture_run.h"

namespace liveexec::harness {
namespace {

// A connection each, here and in the server, which inherits the limit.
void RaiseFileLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Torture(const TortureOptions& options) {
  RaiseFileLimit();
  Terminal terminal(options);
  const auto result = TortureRun(options, terminal).Run();
  if (!result.ok()) {
    std::fprintf(stderr, "liveexec-torture: %s\n", std::string(result.status().message()).c_str());
    return 2;
  }
  terminal.PrintResult(*result);
  if (!options.report_dir.empty()) {
    if (const absl::Status written = WriteReports(*result, options.report_dir); !written.ok()) {
      std::fprintf(stderr, "liveexec-torture: %s\n", std::string(written.message()).c_str());
      return 2;
    }
    if (!options.quiet) std::printf("report: %s/report.html\n", options.report_dir.c_str());
  }
  return result->passed() ? 0 : 1;
}

}  // namespace
}  // namespace liveexec::harness

int main(int argc, char** argv) {
  const auto parsed = liveexec::harness::ParseTorture(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  return liveexec::harness::Torture(parsed.options);
}
