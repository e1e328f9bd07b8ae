// ResourceWatch: the memory and the number of processes of a server, over time.
//
// A server is all processes of its process group, so that an old program that lives on beside the
// new one counts. A thread of its own reads /proc now and then.
#ifndef LIVEEXEC_TESTS_HARNESS_RESOURCE_WATCH_H_
#define LIVEEXEC_TESTS_HARNESS_RESOURCE_WATCH_H_

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/time/time.h"

namespace liveexec::harness {

struct ResourceSample {
  int64_t at_ns = 0;           // CLOCK_MONOTONIC
  int64_t resident_bytes = 0;  // of all processes; what they share counts for each
  int processes = 0;
};

class ResourceWatch {
 public:
  // Takes a sample every `interval` from now on.
  ResourceWatch(pid_t group, absl::Duration interval);
  ~ResourceWatch();
  ResourceWatch(const ResourceWatch&) = delete;
  ResourceWatch& operator=(const ResourceWatch&) = delete;

  // Ends it. Call it once.
  std::vector<ResourceSample> Finish();

  static ResourceSample SampleOf(pid_t group);

 private:
  void Run();

  pid_t group_;
  absl::Duration interval_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;                   // guarded by mutex_
  std::vector<ResourceSample> samples_;  // of the thread, until it has ended
  std::thread thread_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_RESOURCE_WATCH_H_
