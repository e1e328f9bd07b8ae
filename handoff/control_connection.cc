#include "handoff/control_connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace liveexec {

void ControlConnection::Receive(absl::Duration now) {
  // Not on the stack, which may be the application's, and small.
  std::vector<char> buffer(64 << 10);
  ssize_t count;
  do {
    count = recv(fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  if (count > 0) {
    input.Append({buffer.data(), static_cast<size_t>(count)});
    last_active = now;
  } else if (count == 0) {
    no_more_input = true;
  } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
    dead = true;
  }
}

void ControlConnection::Flush(absl::Duration now) {
  size_t sent = 0;
  while (!dead && sent < unsent.size()) {
    ssize_t count =
        send(fd.get(), unsent.data() + sent, unsent.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) {
      sent += static_cast<size_t>(count);
      last_active = now;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    } else if (errno != EINTR) {
      dead = true;
    }
  }
  unsent.erase(0, sent);
}

void ControlConnection::Queue(std::string frame) {
  if (unsent.size() + frame.size() > kMaxUnsent) {
    dead = true;
    return;
  }
  unsent.append(frame);
}

}  // namespace liveexec
