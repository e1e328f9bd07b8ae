// StreamServer: TCP and UNIX listeners, all connections that came through them, and their handlers.
//
//   StreamServer server({.name = "clients", .loops = {&executor},
//                        .make_handler = [](Stream&) { return std::make_unique<Echo>(); }});
//   upgrader->Register(server);
//   if (upgrader->fresh()) { auto port = server.ListenTcp("127.0.0.1", 7000); ... }
//   upgrader->Start();
//   ...
//   LIVEEXEC_COMPONENT("clients", 1, 1);   // the application's version of its handlers' Save()
//
// The server's own part of the image grows by adding fields, so the version in LIVEEXEC_COMPONENT
// is the application's to change when the meaning of what Save() writes does.
//
// Across an upgrade the listeners stay open (nothing in the accept queues is lost; a UNIX path is
// not unlinked), as do all connections with their bytes (stream.h), accepted ones that no loop has
// adopted yet included. The number of loops may change: the connections are spread over the new
// ones.
//
// Threads. loops[0] is the main executor's: it accepts. Connections are handed round robin to all
// loops. Constructor, destructor, Listen*, StopListening and the Component calls belong to the main
// thread. The destructor closes everything, after what the kernel takes at once of pending output;
// it waits for the other loops, which must be running (or never have run).
#ifndef LIVEEXEC_HANDOFF_UV_STREAM_SERVER_H_
#define LIVEEXEC_HANDOFF_UV_STREAM_SERVER_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/uv/images.capnp.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream.h"

namespace liveexec::uv {

// Where a server listens.
struct Listening {
  std::string host;  // numeric; empty for a UNIX socket
  int port = 0;      // the actual one, not 0 for TCP
  std::string path;  // of a UNIX socket
  bool open = true;  // false after StopListening
};

struct StreamServerOptions {
  std::string name;                  // the component's
  std::vector<LoopExecutor*> loops;  // borrowed, at least one; [0] is the main executor
  // Called on the connection's loop thread for a new connection, or one that was put aside, and on
  // the main thread, all loops parked, for a rehydrated one. Never returns null.
  std::function<std::unique_ptr<StreamHandler>(Stream&)> make_handler;
  size_t max_unread = size_t{1} << 30;  // bytes; a connection with more unconsumed input is closed
  size_t max_pending_output = 0;        // bytes; a connection with more is closed; 0: unlimited
  int backlog = 511;
  // From so many connections on, idle ones whose handlers allow it (StreamHandler::MayGoCold) are
  // put aside ahead of a blackout, so that it does not get longer with their number. While any are,
  // new connections are accepted only as long as the fd table keeps room for those to come back.
  size_t cold_threshold = 128;
  uint64_t cold_after_ms = 100;  // what has had no event for so long is idle
  // Have the supervisor (systemd: FileDescriptorStoreMax=) keep the listeners, under `name`: when
  // the process is started again after a crash, Listen* finds the one of the same address, and who
  // connected meanwhile is served. Sockets of a socket unit with FileDescriptorName=`name` are
  // found as well.
  bool fd_store = false;
};

class Listener;
class StreamLoop;

class StreamServer final : public Component {
 public:
  using Options = StreamServerOptions;

  explicit StreamServer(Options options);
  ~StreamServer() override;

  // Binds and listens; accepting starts with Activate, or at once when that has been. Fresh
  // programs call it; after an upgrade the listeners are there already (listening()), and a call
  // adds one more. `host` is a name or address ("0.0.0.0", "::", "localhost"); an IPv6 socket takes
  // IPv6 only. Port 0 picks one. Returns the port. AlreadyExists: the address is in use.
  absl::StatusOr<int> ListenTcp(const std::string& host, int port);

  // `mode` holds from the socket's first moment. A socket file that nobody listens on is replaced.
  // AlreadyExists: somebody listens there, or it is no socket.
  absl::Status ListenUnix(const std::string& path, mode_t mode);

  // Closes all listeners and unlinks the paths of UNIX ones: for a shutdown, never for an upgrade.
  // Connections stay.
  void StopListening();

  // In the order of the Listen* calls, also after an upgrade (and in the rehydrated server before
  // Activate).
  std::vector<Listening> listening() const;

  // Every open connection of all loops. Main thread, when all loops are parked or have not begun
  // (inside Component calls). `visit` must not close streams of loops that run. These three first
  // take back what was put aside (cold_threshold), as far as the fd table has room for it, and so
  // cost time in a blackout. While the server is quiesced, what was exported stays valid, and
  // Resume serves those that were taken back.
  void ForEach(absl::FunctionRef<void(Stream&, StreamHandler&)> visit);
  // Those of one loop, in the order of their ids; on that loop's thread. `visit` may close them.
  void ForEachOn(LoopExecutor& loop, absl::FunctionRef<void(Stream&, StreamHandler&)> visit);
  // The open connection `id` if it belongs to `loop`, else null. Loop's thread.
  Stream* Find(LoopExecutor& loop, uint64_t id);

  // Whether any connection, of any loop, is put aside (cold_threshold), out of the application's
  // sight. False once all have their handlers (and those have Loaded) again. Any thread.
  bool HasAside() const { return aside_.load() != 0; }
  // Has all loops take theirs back at once, where the fd table allows, then calls `done` on the
  // thread of `from`, never before it returns, and not at all when the server is gone. Thread of
  // `from`, which is one of `loops`.
  void TakeBack(LoopExecutor& from, absl::AnyInvocable<void() &&> done);

  // Connections, accepted and not yet closed, of all loops. Any thread.
  size_t size() const { return size_.load(std::memory_order_relaxed); }

  std::string_view name() const override { return options_.name; }
  void Precopy(const Successor& successor, absl::AnyInvocable<void(absl::Status) &&> done) override;
  void AbandonPrecopy() override;
  absl::Status Quiesce() override;
  absl::Status Export(ExportContext& context) const override;
  void Resume() override;
  absl::Status Rehydrate(ImportContext& context) override;
  void Activate() override;

 private:
  struct Loop;
  struct Waiting;
  struct RetryTimer;

  StreamLoop* StreamsOn(const LoopExecutor& executor) const;  // null: not one of `loops`
  static void Visit(StreamLoop& streams, absl::FunctionRef<void(Stream&, StreamHandler&)> visit);
  void AddListener(UniqueFd fd, std::string path);
  absl::StatusOr<UniqueFd> FromSupervisor(const std::function<bool(int fd)>& fits) const;
  void KeepListeners();
  absl::Status Listen(UniqueFd fd, std::string path);
  void OnAccepted(uint32_t listener, UniqueFd fd);
  void AdoptWaiting(Loop& loop);
  void Adopt(Loop& loop, Waiting waiting);
  void OnClosed();
  void OnRoom();
  void OnStarved();
  void RetryAccepting();
  absl::Status ExportStreams(ExportContext& context, image::StreamServer::Builder image) const;
  absl::Status ExportColdSets(ExportContext& context, image::StreamServer::Builder image) const;
  absl::Status RehydrateColdSets(ImportContext& context, image::StreamServer::Reader image);
  absl::Status RehydrateListeners(ImportContext& context, image::StreamServer::Reader image);
  absl::Status RehydrateStream(ImportContext& context, image::Stream::Reader record, Loop& loop);

  const Options options_;
  std::atomic<size_t> size_{0};
  std::atomic<size_t> aside_{0};
  std::atomic<bool> starved_{false};  // a listener waits for fds
  bool serving_ = false;
  bool quiesced_ = false;
  bool cooled_ = false;  // Precopy began to put connections aside
  uint64_t next_id_ = 1;
  size_t next_loop_ = 0;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  RetryTimer* retry_;                    // deletes itself when the loop has closed it
  std::shared_ptr<StreamServer*> self_;  // for tasks on the main thread that may come too late
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_STREAM_SERVER_H_
