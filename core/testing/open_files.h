// OpenFiles: what a process has open, to show that nothing leaked.
#ifndef LIVEEXEC_CORE_TESTING_OPEN_FILES_H_
#define LIVEEXEC_CORE_TESTING_OPEN_FILES_H_

#include <sys/types.h>

#include <map>
#include <string>

namespace liveexec {

// fd number -> what /proc says it is ("socket:[1234]", "/memfd:liveexec-counter (deleted)").
// `pid` 0 is the calling process. The fd that reads the list is not in it.
std::map<int, std::string> OpenFiles(pid_t pid = 0);

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_TESTING_OPEN_FILES_H_
