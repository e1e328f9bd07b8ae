// The command line.
#ifndef LIVEEXEC_DEMO_SERVER_OPTIONS_H_
#define LIVEEXEC_DEMO_SERVER_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace liveexec::demo {

struct Options {
  int port = 6379;  // 0: any
  std::vector<std::string> bind = {"127.0.0.1"};
  std::string unix_socket;  // empty: none
  int threads = 1;
  std::string control;             // empty: none
  bool resident = true;            // the key space is in resident memory, else on the heap
  uint64_t resident_capacity = 0;  // bytes; 0: as much as the machine has
  std::string upgrade_binary;      // empty: the path that the program was started from
};

struct ParsedOptions {
  Options options;
  std::optional<int> exit_code;  // set when there is nothing to do but to exit (--help, an error)
};

// Prints help, the version and errors.
ParsedOptions ParseOptions(int argc, char** argv, std::string_view version);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_OPTIONS_H_
