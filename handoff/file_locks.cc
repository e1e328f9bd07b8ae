#include "handoff/file_locks.h"

#include <errno.h>
#include <fcntl.h>

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/error.h"
#include "core/unique_fd.h"

namespace liveexec {
namespace {

// A line is about 60 bytes.
constexpr size_t kMaxFdInfo = 4096 + 128 * kMaxLocksOfFile;

// "lock: 1: POSIX ADVISORY WRITE 1234 08:01:5678 0 EOF"
absl::StatusOr<FileLock> ParseLock(const std::vector<absl::string_view>& fields) {
  FileLock lock;
  int64_t end = 0;
  lock.exclusive = fields[4] == "WRITE";
  bool to_the_end = fields[8] == "EOF";
  bool understood = (lock.exclusive || fields[4] == "READ") &&
                    absl::SimpleAtoi(fields[7], &lock.start) &&
                    (to_the_end || absl::SimpleAtoi(fields[8], &end));
  if (!understood || lock.start < 0 || (!to_the_end && end < lock.start)) {
    return absl::InternalError("the kernel describes a POSIX lock in an unknown way");
  }
  lock.length = to_the_end ? 0 : end - lock.start + 1;
  return lock;
}

absl::StatusOr<std::string> ReadFdInfo(Syscalls& syscalls, int fd) {
  std::string path = absl::StrCat("/proc/self/fdinfo/", fd);
  int result = syscalls.Open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (result < 0) return ErrnoError(-result, absl::StrCat("open ", path));
  UniqueFd file(result);
  std::string text;
  char buffer[4096];
  while (text.size() < kMaxFdInfo) {
    int64_t size =
        syscalls.Pread(file.get(), buffer, sizeof(buffer), static_cast<int64_t>(text.size()));
    if (size < 0) return ErrnoError(static_cast<int>(-size), absl::StrCat("read ", path));
    if (size == 0) return text;
    text.append(buffer, static_cast<size_t>(size));
  }
  return absl::ResourceExhaustedError(absl::StrCat("there is no end of ", path));
}

struct flock Describe(const FileLock& lock) {
  struct flock description = {};
  description.l_type = lock.exclusive ? F_WRLCK : F_RDLCK;
  description.l_whence = SEEK_SET;
  description.l_start = lock.start;
  description.l_len = lock.length;
  return description;
}

}  // namespace

absl::StatusOr<std::vector<FileLock>> ParseLocks(std::string_view fdinfo) {
  std::vector<FileLock> locks;
  absl::string_view text(fdinfo.data(), fdinfo.size());
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, "lock:")) continue;
    std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (fields.size() < 3 || fields[2] != "POSIX") continue;
    if (fields.size() < 9) {
      return absl::InternalError("the kernel describes a POSIX lock in an unknown way");
    }
    LIVEEXEC_ASSIGN_OR_RETURN(FileLock lock, ParseLock(fields));
    if (locks.size() == kMaxLocksOfFile) {
      return absl::ResourceExhaustedError(
          absl::StrCat("more than ", kMaxLocksOfFile, " POSIX locks on one file"));
    }
    locks.push_back(lock);
  }
  return locks;
}

absl::StatusOr<std::vector<FileLock>> LocksOf(Syscalls& syscalls, int fd) {
  LIVEEXEC_ASSIGN_OR_RETURN(std::string text, ReadFdInfo(syscalls, fd));
  return ParseLocks(text);
}

absl::Status TakeLock(Syscalls& syscalls, int fd, const FileLock& lock) {
  struct flock wanted = Describe(lock);
  int result = syscalls.Fcntl(fd, F_SETLK, reinterpret_cast<int64_t>(&wanted));
  if (result >= 0) return absl::OkStatus();
  if (result != -EAGAIN && result != -EACCES) return ErrnoError(-result, "lock");
  struct flock holder = Describe(lock);
  bool known = syscalls.Fcntl(fd, F_GETLK, reinterpret_cast<int64_t>(&holder)) >= 0 &&
               holder.l_type != F_UNLCK;
  return absl::UnavailableError(
      absl::StrCat("another process has taken the POSIX lock during the upgrade",
                   known ? absl::StrCat(" (PID ", holder.l_pid, ")") : "",
                   "; flock and OFD locks cannot be taken away like this"));
}

}  // namespace liveexec
