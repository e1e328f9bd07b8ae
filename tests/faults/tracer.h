// Tracer: strace, attached to a running server, that makes its system calls fail or tells of them.
//
//   Tracer tracer(pid, {"-e", "inject=execveat:error=EAGAIN"}, Tracer::kMainThread);
//   ... upgrade ...
//   std::vector<std::string> calls = tracer.Detach();
//
// Counters of strace's "when=N" are for each thread, and begin when it is attached; threads and
// processes that are started later begin at 1. kMainThread traces the thread `pid` alone, kAll all
// threads of its process, and what they start. Throws std::runtime_error when strace cannot attach.
#ifndef LIVEEXEC_TESTS_FAULTS_TRACER_H_
#define LIVEEXEC_TESTS_FAULTS_TRACER_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "tests/harness/child_process.h"
#include "tests/harness/temp_dir.h"

namespace liveexec::faults {

class Tracer {
 public:
  enum Scope { kMainThread, kAll };

  // Returns when it is attached. `arguments` as for strace.
  Tracer(pid_t pid, std::vector<std::string> arguments, Scope scope);
  ~Tracer();
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  // Waits until strace has written a line that contains `text`; false when it has ended, or did
  // not do so in time.
  bool WaitFor(std::string_view text, absl::Duration timeout);

  // Whether strace has ended by itself: there is nobody left to trace.
  bool ended() const { return ended_; }

  // Lets the server go on alone. All that strace wrote: a line for each call that it traced.
  std::vector<std::string> Detach();

 private:
  bool ReadMore(int fd, std::string& text, absl::Duration timeout);

  UniqueFd output_, errors_;
  std::string calls_, messages_;
  bool ended_ = false;
  std::unique_ptr<harness::ChildProcess> strace_;
};

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_TRACER_H_
