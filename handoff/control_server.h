// ControlServer: the UNIX socket on which operators ask for upgrades, and get their answers.
//
//   ControlServer::Handlers handlers = {.status = [&] { return Status(); }, ...};
//   auto server = std::make_unique<ControlServer>("/run/echo/control", std::move(handlers));
//   // As a component: Initialize listens (a fresh start), Rehydrate takes over what there was.
//   while (...) {
//     std::vector<pollfd> fds = {...};
//     server->AppendPollFds(fds);
//     poll(fds, min(own deadline, server->UntilDeadline()));
//     server->Handle(fds);
//   }
//
// It owns no thread: whoever polls drives it (the upgrader's conductor). It never blocks: answers
// that the kernel does not take at once are buffered. Not thread-safe: the conductor calls it, or
// the main thread while that is parked, or is its guest. Handlers run inside Handle; they may call
// the Send functions.
//
// It is a component itself, named "liveexec-control": the listener, each connection with its
// half-read request and its half-sent answer, and who waits for the upgrade's result cross to the
// new program, which answers.
//
//   quiesced (Quiesce to Resume):        Handle does nothing; the Send functions buffer, but
//                                        SendProgress drops
//   rehydrated (Rehydrate to Activate):  the same, except that SendProgress buffers
//
// Who may ask: root and our own user, by SO_PEERCRED, for each connection and again for each
// request; everyone else gets E_PERM. Limits: Options. The socket's file is 0600 in a directory of
// ours that is closed to others. It stays in place across upgrades and is unlinked by the
// destructor only, if it is still ours.
#ifndef LIVEEXEC_HANDOFF_CONTROL_SERVER_H_
#define LIVEEXEC_HANDOFF_CONTROL_SERVER_H_

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/control.capnp.h"
#include "handoff/control_connection.h"
#include "handoff/control_frame.h"
#include "handoff/control_listener.h"
#include "handoff/journal.h"

namespace liveexec {

class ControlServer final : public Component {
 public:
  // Names a connection; the same in the program that comes after an upgrade. Never 0.
  using ConnectionId = uint64_t;

  // An error that a handler returns is sent to the client with its code (handoff/error_code.h).
  // Those that are not given answer E_UNSUPPORTED.
  struct Handlers {
    std::function<ControlStatus()> status;
    // The oldest first; limit 0: all.
    std::function<std::vector<JournalEntry>(uint32_t limit)> history;
    // Ok: the upgrade was begun, and SendResult or SendError for `requester` will end the request.
    std::function<absl::Status(ConnectionId requester, const ControlUpgrade&)> upgrade;
    std::function<absl::Status()> cancel;
    std::function<absl::Status()> rollback;
    std::function<absl::StatusOr<std::string>()> doctor;
    // Asked before the doctor, which takes its time: false keeps the request for a later Handle.
    // Not given: always true.
    std::function<bool()> may_wait;
  };

  struct Options {
    size_t max_connections = 64;  // one more gets E_BUSY
    // A frame must arrive whole this long after its first byte (E_TIMEOUT).
    absl::Duration frame_deadline = absl::Seconds(10);
    // A client that takes none of its answer for so long is dropped.
    absl::Duration send_deadline = absl::Seconds(60);
    // A client that neither asks nor waits for so long is dropped.
    absl::Duration idle_deadline = absl::Minutes(5);
    // Each user may ask so often on average, and so often at once (E_RATE).
    double requests_per_second = 100;
    double request_burst = 200;
    // A monotonic clock; the time since any fixed moment. For tests.
    std::function<absl::Duration()> clock;
    // Who is at the other end of a socket; SO_PEERCRED when empty. For tests.
    std::function<absl::StatusOr<uid_t>(int fd)> peer_uid;
  };

  // `path` may be empty: then it never listens. Does nothing yet.
  ControlServer(std::string path, Handlers handlers, Options options);
  ControlServer(std::string path, Handlers handlers)
      : ControlServer(std::move(path), std::move(handlers), Options()) {}
  // Closes everything, and unlinks the socket's file if it is still ours and we serve it: a program
  // in rehearsal, or between Rehydrate and Activate, leaves it alone.
  ~ControlServer() override;

  // A server that listens: the constructor, Initialize and Activate. Errors: see ControlListener.
  static absl::StatusOr<std::unique_ptr<ControlServer>> Listen(std::string path,
                                                               Handlers handlers) {
    return Listen(std::move(path), std::move(handlers), Options());
  }
  static absl::StatusOr<std::unique_ptr<ControlServer>> Listen(std::string path, Handlers handlers,
                                                               Options options);

  // What to poll for; entries of others in `fds` stay.
  void AppendPollFds(std::vector<pollfd>& fds) const;
  // Does what poll() found possible, and what is due by the clock; skips entries of others. Call it
  // also when poll() timed out.
  void Handle(absl::Span<const pollfd> polled);
  // From now; InfiniteDuration when nothing is due.
  absl::Duration UntilDeadline() const;

  // For the connection that waits for an upgrade; all do nothing when it is gone or does not wait:
  // its upgrade goes on, and the journal has the result. SendResult and SendError end the wait.
  void SendProgress(ConnectionId requester, const ControlProgress& progress);
  void SendResult(ConnectionId requester, const JournalEntry& entry);
  void SendError(ConnectionId requester, const absl::Status& error);
  // Ends the wait with the connection, when there is no memory for an answer.
  void HangUp(ConnectionId requester);
  // Those who wait, in ascending order: a program that was just started learns from it whom to
  // answer.
  std::vector<ConnectionId> Waiting() const;

  // Where it listens: after an upgrade, where the old program did. Empty when it does not.
  const std::string& path() const;

  std::string_view name() const override { return "liveexec-control"; }
  absl::Status Initialize() override;
  absl::Status Quiesce() override;
  absl::Status Export(ExportContext& context) const override;
  void Resume() override;
  absl::Status Rehydrate(ImportContext& context) override;
  void Activate() override;

 private:
  enum class State { kIdle, kActive, kQuiesced, kRehydrated };
  using Connections = std::map<ConnectionId, ControlConnection>;

  absl::Duration Now() const;
  absl::StatusOr<uid_t> PeerOf(int fd) const;
  // The peer's user, if it may ask at all.
  absl::StatusOr<uid_t> CheckPeer(int fd) const;
  absl::Status TakeToken(uid_t user);
  void AcceptAll();
  void Welcome(UniqueFd fd);
  void RestoreName();
  void Serve(ControlConnection& connection, short events);
  void ServeWithMemory(ControlConnection& connection, short events);
  void AnswerFrames(ControlConnection& connection);
  // False: not now; it is to be looked at again.
  bool AnswerFrame(ControlConnection& connection, std::string_view frame);
  void Dispatch(ControlConnection& connection, const ControlRequest& request);
  void BeginUpgrade(ControlConnection& connection, uint64_t request, const ControlUpgrade& upgrade);
  void Acknowledge(ControlConnection& connection, uint64_t request, const absl::Status& status);
  // Queues, and sends what can be sent if we serve.
  void Send(ControlConnection& connection, const ControlResponse& response);
  void SendError(ControlConnection& connection, uint64_t request, const absl::Status& error);
  // For a waiting connection: ends its wait.
  void EndWait(ConnectionId requester, ControlResponse response);
  ControlConnection* FindWaiting(ConnectionId requester);
  absl::Duration DeadlineOf(const ControlConnection& connection) const;
  void CloseOverdue();
  void Sweep();
  absl::Status RehydrateConnections(control::ServerImage::Reader image, ImportContext& context);

  std::string configured_path_;
  Handlers handlers_;
  Options options_;
  State state_ = State::kIdle;
  bool owns_file_ = false;   // the destructor unlinks the socket's file
  bool unanswered_ = false;  // whole frames may wait that poll() knows nothing of
  int handling_ = 0;         // depth of Handle: a handler may call it
  ControlListener listener_;
  absl::Duration accept_again_ = absl::ZeroDuration();  // after running out of fds
  ConnectionId next_connection_ = 1;
  Connections connections_;
  struct Bucket {
    double tokens = 0;
    absl::Duration filled = absl::ZeroDuration();
  };
  std::map<uid_t, Bucket> buckets_;  // root and ourselves: at most two
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONTROL_SERVER_H_
