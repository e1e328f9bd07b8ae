// CallTrace: which system calls a normal crossing makes, to know which one to fail.
#ifndef LIVEEXEC_TESTS_FAULTS_CALL_TRACE_H_
#define LIVEEXEC_TESTS_FAULTS_CALL_TRACE_H_

#include <string>
#include <string_view>
#include <vector>

#include "tests/faults/fault_run.h"
#include "tests/faults/tracer.h"

namespace liveexec::faults {

// One line of strace's log.
struct TracedCall {
  pid_t thread = 0;  // 0: the log has no threads
  std::string call;  // "fcntl"
  std::string line;  // "fcntl(5, F_ADD_SEALS, ...) = 0"
};

// Skips what is no call: signals, exits, the second halves of calls.
std::vector<TracedCall> ParseTrace(const std::vector<std::string>& lines);

// How the n-th call is found: the first one that contains `text`, and comes after the first line
// that contains `after`.
struct CallWanted {
  std::string call;   // "fcntl"
  std::string text;   // "F_ADD_SEALS"
  std::string after;  // "execveat"; empty: from the beginning
};

// Its number among the main thread's calls of that name, from 1, in an upgrade from v1 to v2 of
// another victim with the same options. Throws when there is none.
int OrdinalOf(const CallWanted& wanted, const FaultRunOptions& options);

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_CALL_TRACE_H_
