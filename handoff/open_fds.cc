#include "handoff/open_fds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"

#if defined(__SANITIZE_THREAD__)
// Other threads close and open fds meanwhile, which the list allows for.
extern "C" const char* __tsan_default_suppressions() { return "race:liveexec::ListOpenFds\n"; }
#endif

namespace liveexec {

absl::StatusOr<std::vector<OpenFd>> ListOpenFds(Syscalls& syscalls, FdInspector& inspector) {
  std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/fd"), closedir);
  if (directory == nullptr) return ErrnoError(errno, "open /proc/self/fd");
  std::vector<OpenFd> open;
  while (const struct dirent* entry = readdir(directory.get())) {
    OpenFd one;
    if (!absl::SimpleAtoi(entry->d_name, &one.fd)) continue;
    if (one.fd <= 2 || one.fd == dirfd(directory.get())) continue;
    int flags = syscalls.Fcntl(one.fd, F_GETFD, 0);
    if (flags < 0) continue;  // Closed meanwhile by another thread.
    one.inheritable = (flags & FD_CLOEXEC) == 0;
    auto identity = inspector.Inspect(one.fd);
    if (!identity.ok()) continue;
    one.kind = identity->kind;
    one.inode = identity->inode;
    open.push_back(one);
  }
  std::sort(open.begin(), open.end(), [](const OpenFd& a, const OpenFd& b) { return a.fd < b.fd; });
  return open;
}

std::vector<std::string> LeftBehind(absl::Span<const OpenFd> open, absl::Span<const int> carried,
                                    absl::FunctionRef<bool(int)> is_open, size_t limit) {
  int highest = -1;
  for (const OpenFd& one : open) highest = std::max(highest, one.fd);
  std::vector<bool> is_carried(static_cast<size_t>(highest + 1));
  for (int fd : carried) {
    if (fd <= highest) is_carried[static_cast<size_t>(fd)] = true;
  }
  std::vector<std::string> names;
  size_t more = 0;
  for (const OpenFd& one : open) {
    if (is_carried[static_cast<size_t>(one.fd)]) continue;
    // Closed since it was listed: connections come and go.
    if (!is_open(one.fd)) continue;
    if (names.size() == limit) {
      ++more;
      continue;
    }
    names.push_back(absl::StrCat(one.fd, " ", std::string(FdKindName(one.kind))));
  }
  if (more > 0) names.push_back(absl::StrCat("and ", more, " more"));
  return names;
}

}  // namespace liveexec
