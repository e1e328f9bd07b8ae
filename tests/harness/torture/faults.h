// What the faults of a FaultPlan do, as far as they are the same for every server.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_FAULTS_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_FAULTS_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/harness/endpoint.h"

namespace liveexec::harness {

// The first `part` (0 to 1) of a program, executable.
absl::Status CopyProgram(const std::string& from, const std::string& to, double part);
// Opens connections, and closes them with a reset.
void ResetConnections(const Endpoint& endpoint, int count);
// Opens connections all at once, and closes them.
void FloodConnections(const Endpoint& endpoint, int count);
// SIGSTOP, a while, SIGCONT.
void StopFor(pid_t pid, absl::Duration time);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_FAULTS_H_
