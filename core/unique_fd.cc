#include "core/unique_fd.h"

#include <unistd.h>

#include <cerrno>

namespace liveexec {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) {
    int saved = errno;
    ::close(fd_);
    errno = saved;
  }
  fd_ = fd;
}

}  // namespace liveexec
