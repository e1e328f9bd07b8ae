// ControlClient: asks a running server through its control socket.
//
//   LIVEEXEC_ASSIGN_OR_RETURN(ControlClient client, ControlClient::Connect("/run/echo/control"));
//   LIVEEXEC_ASSIGN_OR_RETURN(JournalEntry entry, client.Upgrade({.binary = "/srv/bin/echo"},
//   timeout,
//                                                                [](const ControlProgress& p)
//                                                                {...}));
//
// Blocking, with a deadline for each call. Not thread-safe. Errors carry codes
// (handoff/error_code.h): the server's own, or E_CONNECT (nobody listens), E_ACCES (not permitted),
// E_TIMEOUT, E_LOST (the server closed the connection, or died, before it answered), E_PROTO. After
// any of these but the server's own, the connection is of no further use.
#ifndef LIVEEXEC_HANDOFF_CONTROL_CLIENT_H_
#define LIVEEXEC_HANDOFF_CONTROL_CLIENT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"
#include "handoff/control_frame.h"
#include "handoff/journal.h"

namespace liveexec {

class ControlClient {
 public:
  static constexpr absl::Duration kAnswerTimeout = absl::Seconds(10);

  static absl::StatusOr<ControlClient> Connect(const std::string& path,
                                               absl::Duration timeout = kAnswerTimeout);

  // Returns what became of the upgrade, whichever program answers. A refusal before it began is an
  // error: E_BUSY, E_PERM, E_RATE... `progress` may be empty; it runs during the call.
  absl::StatusOr<JournalEntry> Upgrade(const ControlUpgrade& upgrade, absl::Duration timeout,
                                       const std::function<void(const ControlProgress&)>& progress);

  absl::StatusOr<ControlStatus> Status(absl::Duration timeout = kAnswerTimeout);
  // The newest `limit`, the oldest of them first; 0: all.
  absl::StatusOr<std::vector<JournalEntry>> History(uint32_t limit,
                                                    absl::Duration timeout = kAnswerTimeout);
  absl::Status Cancel(absl::Duration timeout = kAnswerTimeout);
  absl::Status Rollback(absl::Duration timeout = kAnswerTimeout);
  absl::StatusOr<std::string> Doctor(absl::Duration timeout = kAnswerTimeout);

 private:
  explicit ControlClient(UniqueFd fd) : fd_(std::move(fd)) {}

  // Sends a request; returns its id.
  absl::StatusOr<uint64_t> Send(ControlRequest request, absl::Time deadline);
  // The next response to request `id`. The server's error becomes a status.
  absl::StatusOr<ControlResponse> Receive(uint64_t id, absl::Time deadline);
  absl::StatusOr<ControlResponse> Ask(ControlRequest request, absl::Duration timeout);
  // Waits until `events` are possible. E_TIMEOUT.
  absl::Status Await(short events, absl::Time deadline);
  absl::Status ReadMore(absl::Time deadline);

  UniqueFd fd_;
  FrameBuffer input_{kMaxResponseFrame};
  uint64_t next_id_ = 1;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONTROL_CLIENT_H_
