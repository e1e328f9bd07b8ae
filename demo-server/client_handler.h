// ClientHandler: one client's connection. Takes its bytes to the engine, and the engine's to it.
//
// Owned by the StreamServer; everything on its loop's thread. The session in it is guarded by the
// engine's lock.
#ifndef LIVEEXEC_DEMO_SERVER_CLIENT_HANDLER_H_
#define LIVEEXEC_DEMO_SERVER_CLIENT_HANDLER_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "demo-server/engine/engine.h"
#include "demo-server/engine/session.h"
#include "demo-server/state/state_format.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream.h"
#include "handoff/uv/stream_server.h"

namespace liveexec::demo {

class ClientHandler final : public uv::StreamHandler, public SessionOwner {
 public:
  // What all handlers of a loop share. Borrowed.
  struct Shared {
    Engine* engine;
    const StateFormat* format;
    int loop;  // its index
    uv::LoopExecutor* executor;
    uv::StreamServer* connections;
    std::string output;  // a buffer for what is about to be written
  };

  ClientHandler(uv::Stream& stream, Shared& shared, std::string unix_path);

  // Writes what the engine has for the session.
  void Flush();

  void OnOpen(uv::Stream& stream) override;
  size_t OnInput(uv::Stream& stream, std::string_view input) override;
  void OnEnd(uv::Stream& stream) override;
  void OnClose(uv::Stream& stream) override;
  absl::Status Save(capnp::AnyPointer::Builder state) const override;
  absl::Status Load(capnp::AnyPointer::Reader state) override;
  bool MayGoCold() const override;
  void OnCold(uv::Stream& stream) override;

 private:
  void Send(const Engine::Output& what);
  void CallEveryone();
  void OnEveryoneHere();
  void OfferAgain();

  uv::Stream& stream_;
  Shared& shared_;
  const std::string unix_path_;  // of the listener; empty for TCP
  Session session_;
  bool known_ = false;               // to the engine
  bool waits_for_everyone_ = false;  // to be taken back
};

// Flushes the sessions of a loop that others have put something into. On the loop's thread.
void FlushPending(Engine& engine, int loop);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_CLIENT_HANDLER_H_
