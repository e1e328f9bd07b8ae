// The clients of load_client. See there for what they count.
#ifndef LIVEEXEC_TESTS_BENCH_LOAD_H_
#define LIVEEXEC_TESTS_BENCH_LOAD_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace liveexec::bench {

struct LoadOptions {
  int port = 0;
  pid_t pid = 0;
  std::string protocol = "resp";
  size_t busy = 0;
  size_t paced = 0;
  int64_t pace_ms = 100;
};

// Obeys standard input until it ends.
absl::Status RunLoad(const LoadOptions& options);

}  // namespace liveexec::bench

#endif  // LIVEEXEC_TESTS_BENCH_LOAD_H_
