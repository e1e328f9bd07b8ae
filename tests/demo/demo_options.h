// What the demo was asked to do.
#ifndef LIVEEXEC_TESTS_DEMO_DEMO_OPTIONS_H_
#define LIVEEXEC_TESTS_DEMO_DEMO_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace liveexec::demo {

struct DemoOptions {
  int upgrades = 20;
  int idle = 1000;
  int busy = 64;    // half of them redis-benchmark's, half checking clients
  int threads = 1;  // of the server
  uint64_t seed = 0;
  std::string json_file;             // empty: none
  std::vector<std::string> servers;  // versions v0, v1 (which is started), v2
  std::string liveexec;              // the command
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_TESTS_DEMO_DEMO_OPTIONS_H_
