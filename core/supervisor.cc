#include "core/supervisor.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/error.h"
#include "core/unique_fd.h"

namespace liveexec {

absl::Status NotifySupervisor(std::string_view message) {
  const char* path = getenv("NOTIFY_SOCKET");
  if (path == nullptr) return absl::OkStatus();
  size_t length = strlen(path);
  sockaddr_un address = {};
  if (length == 0 || length >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) {
    return ErrnoError(EINVAL, "NOTIFY_SOCKET");
  }
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path, length);
  // "@name" is the abstract socket whose name begins with a NUL.
  if (path[0] == '@') address.sun_path[0] = '\0';
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket for NOTIFY_SOCKET");
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
             reinterpret_cast<sockaddr*>(&address), size) < 0) {
    return ErrnoError(errno, "send to NOTIFY_SOCKET");
  }
  return absl::OkStatus();
}

}  // namespace liveexec
