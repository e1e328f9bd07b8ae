// POSIX locks (fcntl F_SETLK) of carried files.
//
// They belong to the process and an inode, and go when the process closes any fd of that inode:
// exec closes the carrier's own. So they are listed before it and taken again after it. In between
// another process can take them; flock and OFD locks belong to the open file, which is never
// closed, and have no such window. What is listed is what was locked through the very open file
// that is carried.
#ifndef LIVEEXEC_HANDOFF_FILE_LOCKS_H_
#define LIVEEXEC_HANDOFF_FILE_LOCKS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/syscalls.h"

namespace liveexec {

struct FileLock {
  uint32_t entry = 0;  // index into the fd table
  bool exclusive = false;
  int64_t start = 0;   // bytes
  int64_t length = 0;  // bytes; 0: to the end of the file, wherever that will be
};

// More than this on one file is refused: they would have to be taken again one by one.
constexpr size_t kMaxLocksOfFile = 1024;

// The locks in `fdinfo`, the text of /proc/self/fdinfo/N. ResourceExhausted beyond kMaxLocksOfFile;
// Internal when a line about a lock is not understood.
absl::StatusOr<std::vector<FileLock>> ParseLocks(std::string_view fdinfo);

// Those of an open file of this process; `entry` is 0. Any thread.
absl::StatusOr<std::vector<FileLock>> LocksOf(Syscalls& syscalls, int fd);

// Takes a lock for this process. Unavailable, with the holder's PID, when another one has it.
absl::Status TakeLock(Syscalls& syscalls, int fd, const FileLock& lock);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_FILE_LOCKS_H_
