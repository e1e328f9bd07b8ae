// Server: the engine, its connections and its timers on libuv loops, made ready for upgrades.
//
// Constructed, used and destroyed on the main thread; the host calls of the engine come from any
// loop's thread.
#ifndef LIVEEXEC_DEMO_SERVER_SERVER_H_
#define LIVEEXEC_DEMO_SERVER_SERVER_H_

#include <uv.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "demo-server/client_handler.h"
#include "demo-server/engine/engine.h"
#include "demo-server/keyspace_component.h"
#include "demo-server/options.h"
#include "demo-server/state/state_format.h"
#include "handoff/resident_memory.h"
#include "handoff/upgrader.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream_server.h"

namespace liveexec::demo {

class Server final : public EngineHost {
 public:
  // All borrowed; loops[0] is the main one.
  Server(const Options& options, const StateFormat& format, Upgrader& upgrader,
         std::vector<uv::LoopExecutor*> loops);
  ~Server() override;

  // Registers the components, listens when the program is fresh, and starts: after this it serves
  // as soon as the loops run. Says on standard output where it listens and that it is ready.
  absl::Status Start();
  // Ends the main loop's run. Main thread.
  void Stop();

  void WakeLoop(int loop) override;
  void DeadlineMoved() override;
  void RequestShutdown() override;
  void RequestUpgrade(std::string_view binary) override;
  size_t Connections() override;
  bool AnyAside() override;

 private:
  absl::Status Listen();
  std::unique_ptr<uv::StreamHandler> MakeHandler(uv::Stream& stream);
  uv::StreamServerOptions ConnectionOptions();
  void Announce();
  void StartTimer();
  void Tick();
  void RefreshProgramState();

  const Options options_;
  const StateFormat& format_;
  Upgrader& upgrader_;
  const std::vector<uv::LoopExecutor*> loops_;
  Engine engine_;
  std::vector<ClientHandler::Shared> shared_;  // by loop
  ResidentMemory memory_;
  KeyspaceComponent keyspace_;
  std::optional<uv::StreamServer> connections_;        // ends before what its threads use
  std::atomic<uv::StreamServer*> living_connections_;  // for other loops: null when it is to end
  uv_timer_t* timer_ = nullptr;                        // deleted by its close callback
  std::atomic<bool> serving_{false};                   // before, nobody is to be woken
  std::atomic<bool> tick_wanted_{false};               // DeadlineMoved has posted
  uint64_t last_upgrade_ = 0;  // the newest that the engine's ProgramState shows
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_SERVER_H_
