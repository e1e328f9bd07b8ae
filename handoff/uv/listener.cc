#include "handoff/uv/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace liveexec::uv {
namespace {

// Connections accepted before the loop's other events get their turn.
constexpr int kAcceptsPerWakeup = 64;

void SetFlag(int fd, int level, int option) {
  const int on = 1;
  setsockopt(fd, level, option, &on, sizeof(on));  // a hint or a convenience: failing does no harm
}

absl::Status BindError(int error, const std::string& what) {
  if (error == EADDRINUSE) return absl::AlreadyExistsError(absl::StrCat(what, " is in use"));
  return ErrnoError(error, absl::StrCat("bind ", what));
}

absl::StatusOr<sockaddr_un> UnixAddress(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the path of a UNIX socket has 1 to ",
                                                   sizeof(address.sun_path) - 1, " bytes: ", path));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Removes a socket file that nobody listens on, as a server that was killed leaves it.
absl::Status RemoveDeadSocket(const std::string& path, const sockaddr_un& address) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, path);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::AlreadyExistsError(absl::StrCat(path, " exists and is no socket"));
  }
  UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return ErrnoError(errno, "socket");
  const int connected =
      connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (connected == 0 || errno != ECONNREFUSED) {
    return absl::AlreadyExistsError(absl::StrCat(path, " is in use"));
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, path);
  return absl::OkStatus();
}

bool IsListening(int fd) {
  int listening = 0, type = 0;
  socklen_t size = sizeof(int);
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0 &&
         getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

// accept() also reports what became of the connection that it would have returned (accept(2),
// "Error handling"): the next one may be good. Any other error (EMFILE, ENFILE, ENOBUFS, ENOMEM)
// would be there again at once, so accepting pauses.
bool IsLostConnection(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
      return true;
    default:
      return false;
  }
}

}  // namespace

absl::StatusOr<UniqueFd> ListenOnTcp(const SocketAddress& address, int backlog) {
  UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket");
  SetFlag(fd.get(), SOL_SOCKET, SO_REUSEADDR);
  // So that "::" and "0.0.0.0" can be listened on with the same port.
  if (address.family() == AF_INET6) SetFlag(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY);
  if (bind(fd.get(), address.get(), address.length()) != 0 || listen(fd.get(), backlog) != 0) {
    return BindError(errno, address.ToString());
  }
  return fd;
}

absl::StatusOr<UniqueFd> ListenOnUnix(const std::string& path, mode_t mode, int backlog) {
  LIVEEXEC_ASSIGN_OR_RETURN(const sockaddr_un address, UnixAddress(path));
  LIVEEXEC_RETURN_IF_ERROR(RemoveDeadSocket(path, address));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket");
  // The file is made by bind() with the socket's mode less the umask; chmod adds what that took.
  if (fchmod(fd.get(), mode) != 0) return ErrnoError(errno, "fchmod");
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return BindError(errno, path);
  }
  if (chmod(path.c_str(), mode) != 0 || listen(fd.get(), backlog) != 0) {
    const int error = errno;
    unlink(path.c_str());
    return ErrnoError(error, path);
  }
  return fd;
}

bool ListensOnTcp(int fd, const SocketAddress& address) {
  const auto own = SocketAddress::Local(fd);
  return IsListening(fd) && own.ok() && own->family() == address.family() &&
         own->host() == address.host() && (address.port() == 0 || own->port() == address.port());
}

bool ListensOnUnix(int fd, const std::string& path) {
  const auto own = SocketAddress::Local(fd);
  struct stat info;
  return IsListening(fd) && own.ok() && own->ToString() == absl::StrCat("unix:", path) &&
         lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
}

absl::Status ListenAgain(int fd, int backlog) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return ErrnoError(errno, "fcntl");
  return listen(fd, backlog) == 0 ? absl::OkStatus() : ErrnoError(errno, "listen");
}

absl::Status Listener::Open(uv_loop_t* loop) {
  LIVEEXEC_ASSIGN_OR_RETURN(const SocketAddress address, this->address());
  tcp_ = address.family() != AF_UNIX;
  return poll_.Open(loop, fd_.get(), [this](int) { AcceptSome(); });
}

absl::Status Listener::Start() {
  starved_ = false;
  return poll_.Watch(UV_READABLE);
}

void Listener::Stop() {
  poll_.Close();
  if (fd_ && !path_.empty()) unlink(path_.c_str());
  fd_.reset();
}

void Listener::AcceptSome() {
  // `accepted` may stop this listener.
  for (int i = 0; i < kAcceptsPerWakeup && fd_; ++i) {
    if (!events_.may_accept()) return Starve();
    UniqueFd fd(accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      if (tcp_) SetFlag(fd.get(), IPPROTO_TCP, TCP_NODELAY);
      events_.accepted(std::move(fd));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (!IsLostConnection(errno)) {
      return Starve();
    }
  }
}

void Listener::Starve() {
  starved_ = true;
  poll_.Watch(0).IgnoreError();
  events_.starved();
}

}  // namespace liveexec::uv
