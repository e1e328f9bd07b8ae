// Messages to a supervisor that speaks systemd's notification protocol, sd_notify(3).
//
// libsystemd does the same, but only as a shared library, which every exec would have to load.
#ifndef LIVEEXEC_CORE_SUPERVISOR_H_
#define LIVEEXEC_CORE_SUPERVISOR_H_

#include <string_view>

#include "absl/status/status.h"

namespace liveexec {

// Sends `message` ("MAINPID=4711\nREADY=1") to NOTIFY_SOCKET. Ok when there is no such variable: no
// supervisor wants to know. Never blocks. Errors carry the errno.
absl::Status NotifySupervisor(std::string_view message);

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_SUPERVISOR_H_
