// Workers: jobs spread over processes. Processes, not threads: what one job does to its own
// process, and the fds that it has open while another one spawns a child, must not reach the
// others.
#ifndef LIVEEXEC_TESTS_FAULTS_WORKERS_H_
#define LIVEEXEC_TESTS_FAULTS_WORKERS_H_

#include <cstddef>
#include <functional>
#include <string>

namespace liveexec::faults {

// Calls `run(i)` for each i below `jobs`, in `processes` processes forked for it, in no certain
// order, and `done(i, text)` here with what it returned; an empty text when its process died of
// it. The calling process has one thread. Throws std::runtime_error when it cannot fork.
void RunInProcesses(int processes, size_t jobs, const std::function<std::string(size_t)>& run,
                    const std::function<void(size_t, const std::string&)>& done);

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_WORKERS_H_
