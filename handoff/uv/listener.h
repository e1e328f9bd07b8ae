// Listener: one listening socket on the main loop. For StreamServer.
#ifndef LIVEEXEC_HANDOFF_UV_LISTENER_H_
#define LIVEEXEC_HANDOFF_UV_LISTENER_H_

#include <sys/types.h>
#include <uv.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "handoff/uv/poll_handle.h"
#include "handoff/uv/socket_address.h"

namespace liveexec::uv {

// Listening sockets, non-blocking and CLOEXEC. AlreadyExists: the address is in use.
absl::StatusOr<UniqueFd> ListenOnTcp(const SocketAddress& address, int backlog);
// The file has exactly `mode` once this returns, and never more. A dead socket file is replaced.
absl::StatusOr<UniqueFd> ListenOnUnix(const std::string& path, mode_t mode, int backlog);

// Whether `fd`, which a supervisor kept, is a socket that listens there: at `address`, whatever its
// port if that is 0; or at `path`, if that still leads to a socket.
bool ListensOnTcp(int fd, const SocketAddress& address);
bool ListensOnUnix(int fd, const std::string& path);
// Makes such a socket what the functions above return.
absl::Status ListenAgain(int fd, int backlog);

// On the loop's thread, or while that is parked or not running.
class Listener {
 public:
  struct Events {
    // A new connection: non-blocking, CLOEXEC, TCP ones with TCP_NODELAY.
    std::function<void(UniqueFd)> accepted;
    // Asked before each. False: as if there were no fd left.
    std::function<bool()> may_accept;
    // The process or the system is out of fds or memory: accepting has stopped. Call Start() when
    // something was closed, or a while later.
    std::function<void()> starved;
  };

  // `fd` may be empty: a listener that was stopped, and keeps its place in the server's list.
  Listener(UniqueFd fd, std::string path, Events events)
      : fd_(std::move(fd)), path_(std::move(path)), events_(std::move(events)) {}

  absl::Status Open(uv_loop_t* loop);
  // Accepts from now on.
  absl::Status Start();
  // Closes the socket for good and unlinks its path.
  void Stop();
  bool starved() const { return starved_; }

  int fd() const { return fd_.get(); }               // -1 once stopped
  const std::string& path() const { return path_; }  // of a UNIX socket; empty for TCP
  absl::StatusOr<SocketAddress> address() const { return SocketAddress::Local(fd_.get()); }

 private:
  void AcceptSome();
  void Starve();

  UniqueFd fd_;
  const std::string path_;
  const Events events_;
  bool tcp_ = false;
  bool starved_ = false;
  PollHandle poll_;  // after fd_: closed before it
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_LISTENER_H_
