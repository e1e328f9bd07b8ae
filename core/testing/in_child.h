// InChild: runs a piece of a test in a forked process, for what must not happen to the test itself:
// lowered limits, changed masks, an exec.
//
//   EXPECT_EQ(InChild([]() -> std::string {
//               if (setrlimit(...) != 0) return "setrlimit";
//               return DoIt().ok() ? "" : "it failed";
//             }),
//             "");
#ifndef LIVEEXEC_CORE_TESTING_IN_CHILD_H_
#define LIVEEXEC_CORE_TESTING_IN_CHILD_H_

#include <functional>
#include <string>

namespace liveexec {

// What `body` returned, at most 64 KiB; "ended with status N" or "died of signal N" when it did not
// return, for instance because it exec'd. Empty when it returned "" or ended with status 0.
// The calling process has one thread. The child does not run destructors of static objects.
std::string InChild(const std::function<std::string()>& body);

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_TESTING_IN_CHILD_H_
