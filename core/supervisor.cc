#include "core/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/error.h"

namespace liveexec {
namespace {

constexpr char kSocketVariable[] = "NOTIFY_SOCKET";
constexpr int kFirstGivenFd = 3;  // SD_LISTEN_FDS_START
constexpr int kMostGivenFds = 4096;
constexpr size_t kLongestName = 255;

// A datagram socket that is connected to the supervisor's: only such a one tells by poll() whether
// the peer's queue has room.
absl::StatusOr<UniqueFd> Connect(const char* path) {
  const size_t length = strlen(path);
  sockaddr_un address = {};
  if (length == 0 || length >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) {
    return ErrnoError(EINVAL, kSocketVariable);
  }
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path, length);
  // "@name" is the abstract socket whose name begins with a NUL.
  if (path[0] == '@') address.sun_path[0] = '\0';
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket for NOTIFY_SOCKET");
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
    return ErrnoError(errno, "connect to NOTIFY_SOCKET");
  }
  return fd;
}

// `fd`: to be sent along; -1: none.
absl::Status Send(std::string_view message, int fd, absl::Duration patience) {
  const char* path = getenv(kSocketVariable);
  if (path == nullptr) return absl::OkStatus();
  LIVEEXEC_ASSIGN_OR_RETURN(const UniqueFd socket, Connect(path));
  iovec text = {const_cast<char*>(message.data()), message.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &text;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof(int));
  }
  if (sendmsg(socket.get(), &header, MSG_NOSIGNAL) >= 0) return absl::OkStatus();
  pollfd room = {socket.get(), POLLOUT, 0};
  if (errno == EAGAIN && patience > absl::ZeroDuration() &&
      poll(&room, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) > 0 &&
      sendmsg(socket.get(), &header, MSG_NOSIGNAL) >= 0) {
    return absl::OkStatus();
  }
  return ErrnoError(errno, "send to NOTIFY_SOCKET");
}

absl::Status CheckName(std::string_view name) {
  const auto fits = [](char c) {
    return absl::ascii_isprint(static_cast<unsigned char>(c)) && c != ':';
  };
  if (!name.empty() && name.size() <= kLongestName && std::all_of(name.begin(), name.end(), fits)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no name for a supervisor's fd: '", std::string(name), "'"));
}

// The number in a variable, -1 when it has none.
int NumberIn(const char* variable) {
  const char* text = getenv(variable);
  int number = -1;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : -1;
}

}  // namespace

bool HasSupervisor() { return getenv(kSocketVariable) != nullptr; }

absl::Status NotifySupervisor(std::string_view message, absl::Duration patience) {
  return Send(message, -1, patience);
}

absl::Status StoreFd(std::string_view name, int fd, absl::Duration patience) {
  LIVEEXEC_RETURN_IF_ERROR(CheckName(name));
  return Send(absl::StrCat("FDSTORE=1\nFDNAME=", std::string(name)), fd, patience);
}

absl::Status ForgetStoredFds(std::string_view name, absl::Duration patience) {
  LIVEEXEC_RETURN_IF_ERROR(CheckName(name));
  return Send(absl::StrCat("FDSTOREREMOVE=1\nFDNAME=", std::string(name)), -1, patience);
}

SupervisorFds& SupervisorFds::OfThisProcess() {
  static auto* const given = [] {
    auto* fds = new SupervisorFds;
    // The PID tells them from variables that were meant for a process which did not remove them.
    if (NumberIn("LISTEN_PID") == getpid()) {
      const char* text = getenv("LISTEN_FDNAMES");
      const std::vector<std::string> names = absl::StrSplit(text == nullptr ? "" : text, ':');
      const int count = std::min(NumberIn("LISTEN_FDS"), kMostGivenFds);
      for (int i = 0; i < count; ++i) {
        const int fd = kFirstGivenFd + i;
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) continue;  // closed: not what it was said to be
        const auto index = static_cast<size_t>(i);
        fds->fds_.push_back({index < names.size() ? names[index] : "unknown", UniqueFd(fd)});
      }
    }
    for (const char* variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(variable);
    return fds;
  }();
  return *given;
}

UniqueFd SupervisorFds::Take(std::string_view name, const std::function<bool(int)>& fits) {
  std::lock_guard lock(mutex_);
  const auto found = std::find_if(fds_.begin(), fds_.end(), [&](const Fd& one) {
    return one.name == name && fits(one.fd.get());
  });
  if (found == fds_.end()) return UniqueFd();
  UniqueFd fd = std::move(found->fd);
  fds_.erase(found);
  return fd;
}

size_t SupervisorFds::Drop(std::string_view name) {
  std::lock_guard lock(mutex_);
  return std::erase_if(fds_, [&](const Fd& one) { return one.name == name; });
}

}  // namespace liveexec
