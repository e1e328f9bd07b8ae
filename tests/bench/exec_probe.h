// ExecProbe: has a process exec'd (or ended) since the last look? Told from its auxiliary vector,
// in which the kernel writes random addresses at each exec. One small read: some microseconds.
#ifndef LIVEEXEC_TESTS_BENCH_EXEC_PROBE_H_
#define LIVEEXEC_TESTS_BENCH_EXEC_PROBE_H_

#include <sys/types.h>

#include <string>

namespace liveexec::bench {

class ExecProbe {
 public:
  explicit ExecProbe(pid_t pid);

  // True when the program is another one than at the last call (or at construction).
  bool Changed();

 private:
  std::string Read() const;

  std::string path_;
  std::string seen_;
};

}  // namespace liveexec::bench

#endif  // LIVEEXEC_TESTS_BENCH_EXEC_PROBE_H_
