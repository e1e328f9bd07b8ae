// Messages to a supervisor that speaks systemd's notification protocol, sd_notify(3), and the fds
// that it keeps for a program from one start to the next (the "fd store").
//
//   StoreFd("clients", listener);                       // kept while the service is restarted
//   ...                                                 // the process dies, and is started again
//   SupervisorFds::OfThisProcess().Take("clients", [](int fd) { return IsTheOneIWant(fd); });
//
// libsystemd does the same, but only as a shared library, which every exec would have to load.
#ifndef LIVEEXEC_CORE_SUPERVISOR_H_
#define LIVEEXEC_CORE_SUPERVISOR_H_

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"

namespace liveexec {

// Whether there is a NOTIFY_SOCKET.
bool HasSupervisor();

// Sends `message` ("MAINPID=4711\nREADY=1") to NOTIFY_SOCKET. Ok when there is no such variable: no
// supervisor wants to know. Waits up to `patience` for a supervisor whose queue is full; then, as
// for whatever else goes wrong, the error carries the errno (EAGAIN).
absl::Status NotifySupervisor(std::string_view message,
                              absl::Duration patience = absl::ZeroDuration());

// Has the supervisor keep a duplicate of `fd` (borrowed) under `name`, to be given to the next
// start of the service; FileDescriptorStoreMax= must allow it. One that it keeps already is not
// kept twice. `name`: 1 to 255 printable ASCII characters but ':', else InvalidArgument.
absl::Status StoreFd(std::string_view name, int fd, absl::Duration patience = absl::Seconds(1));
// Has it close what it keeps under `name`.
absl::Status ForgetStoredFds(std::string_view name, absl::Duration patience = absl::Seconds(1));

// The fds that the supervisor gave to this process: those of its fd store, and those of socket
// units. Any thread.
class SupervisorFds {
 public:
  // Takes over the fds that LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES announce, makes them CLOEXEC,
  // and removes the variables, so that neither a child nor the next program misreads them. Only the
  // first call does; lives as long as the process.
  static SupervisorFds& OfThisProcess();

  // The first fd under `name` that `fits`, which is then the caller's; empty when there is none.
  UniqueFd Take(std::string_view name, const std::function<bool(int fd)>& fits);

  // Closes those under `name` that nobody took; returns how many.
  size_t Drop(std::string_view name);

 private:
  struct Fd {
    std::string name;
    UniqueFd fd;
  };

  std::mutex mutex_;
  std::vector<Fd> fds_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_SUPERVISOR_H_
