// The command line of liveexec-torture, both ways.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_COMMAND_LINE_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_COMMAND_LINE_H_

#include <optional>
#include <string>

#include "tests/harness/torture/options.h"

namespace liveexec::harness {

struct ParsedTorture {
  TortureOptions options;
  std::optional<int> exit_code;  // when there is nothing to run: --help, or a mistake (printed)
};

ParsedTorture ParseTorture(int argc, char** argv);

// The command that repeats a run, seed included.
std::string CommandLineOf(const TortureOptions& options);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_COMMAND_LINE_H_
