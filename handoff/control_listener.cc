#include "handoff/control_listener.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

constexpr int kBacklog = 64;

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path) ||
      path.find('\0') != std::string::npos) {
    return CodedError("E_UNSAFE", absl::StatusCode::kInvalidArgument,
                      absl::StrCat("the control socket's path has ", path.size(),
                                   " bytes, where 1 to 107 are possible: choose another"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::Status CheckDirectory(int fd, const std::string& directory) {
  struct stat file;
  if (fstat(fd, &file) != 0) return ErrnoError(errno, "fstat " + directory);
  if (file.st_uid != geteuid()) {
    return CodedError(
        "E_UNSAFE", absl::StatusCode::kFailedPrecondition,
        absl::StrCat("the control socket's directory ", directory, " belongs to user ", file.st_uid,
                     ": give one of user ", geteuid(), ", or one that does not exist yet"));
  }
  if ((file.st_mode & 077) != 0) {
    return CodedError("E_UNSAFE", absl::StatusCode::kFailedPrecondition,
                      absl::StrCat("the control socket's directory ", directory,
                                   " is open to others: chmod 700 it, or give one that does not "
                                   "exist yet"));
  }
  return absl::OkStatus();
}

// Waits while another server holds the lock, which takes the time of a bind. Bounded, as anybody of
// our own user can hold it for ever.
absl::Status Lock(int directory_fd, const std::string& directory) {
  constexpr int kTries = 5000;
  constexpr useconds_t kPauseUs = 1000;
  for (int i = 0; i < kTries; ++i) {
    if (flock(directory_fd, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return WithCode(ErrnoError(errno, "cannot lock the control socket's directory " + directory),
                      "E_UNSAFE");
    }
    usleep(kPauseUs);
  }
  return CodedError("E_INUSE", absl::StatusCode::kUnavailable,
                    absl::StrCat("another process keeps the directory of the control socket, ",
                                 directory, ", locked: end it, or give another directory"));
}

// The directory, made if it is missing, ours and closed to others, and locked: of two servers that
// start at once, one would unlink the socket that the other has just bound.
absl::StatusOr<UniqueFd> LockDirectory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return WithCode(ErrnoError(errno, "cannot make the control socket's directory " + directory),
                    "E_UNSAFE");
  }
  UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) {
    return WithCode(ErrnoError(errno, "cannot open the control socket's directory " + directory),
                    "E_UNSAFE");
  }
  LIVEEXEC_RETURN_IF_ERROR(CheckDirectory(fd.get(), directory));
  LIVEEXEC_RETURN_IF_ERROR(Lock(fd.get(), directory));
  return fd;
}

absl::Status InUse(const std::string& path, std::string_view why) {
  return CodedError("E_INUSE", absl::StatusCode::kAlreadyExists,
                    absl::StrCat(path, " ", std::string(why)));
}

// Removes what a dead server left. Ok when the name is free afterwards.
absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat file;
  if (lstat(path.c_str(), &file) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, "lstat " + path);
  }
  if (!S_ISSOCK(file.st_mode)) {
    return InUse(path, "is there and not a socket: give another control socket");
  }
  UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe) return ErrnoError(errno, "socket");
  const int result =
      connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  // Only this error says that nobody listens; with EAGAIN somebody does, and is busy.
  if (result == 0 || errno != ECONNREFUSED) {
    return InUse(path, "is the control socket of a running server: give another, or stop it first");
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, "unlink " + path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ControlListener> ControlListener::Bind(const std::string& path) {
  LIVEEXEC_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  LIVEEXEC_ASSIGN_OR_RETURN(const UniqueFd lock, LockDirectory(DirectoryOf(path)));
  LIVEEXEC_RETURN_IF_ERROR(RemoveStale(path, address));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, "socket");
  // Before bind, which gives the file the socket's mode: it is never open to others, not even for a
  // moment.
  if (fchmod(fd.get(), 0600) != 0) return ErrnoError(errno, "fchmod of the control socket");
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoError(errno, "cannot bind the control socket " + path);
  }
  struct stat file;
  if (lstat(path.c_str(), &file) != 0) return ErrnoError(errno, "lstat " + path);
  ControlListener listener(std::move(fd), path, file.st_dev, file.st_ino);
  if (listen(listener.fd(), kBacklog) != 0) {
    absl::Status status = ErrnoError(errno, "cannot listen on " + path);
    listener.Unlink();
    return status;
  }
  return listener;
}

void ControlListener::Unlink() {
  struct stat file;
  if (path_.empty() || lstat(path_.c_str(), &file) != 0) return;
  if (file.st_dev == device_ && file.st_ino == inode_) unlink(path_.c_str());
}

}  // namespace liveexec
