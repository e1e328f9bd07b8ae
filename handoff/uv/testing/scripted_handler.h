// ScriptedHandler: a StreamHandler made of functions, so that each test says what it needs.
#ifndef LIVEEXEC_HANDOFF_UV_TESTING_SCRIPTED_HANDLER_H_
#define LIVEEXEC_HANDOFF_UV_TESTING_SCRIPTED_HANDLER_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "handoff/uv/stream.h"

namespace liveexec::uv::testing {

// Empty functions do what StreamHandler does; without `input`, everything is sent back.
struct Script {
  std::function<size_t(Stream&, std::string_view)> input;
  std::function<void(Stream&)> open;
  std::function<void(Stream&)> end;
  std::function<void(Stream&)> drained;
  std::function<void(Stream&)> close;
  std::function<absl::Status(capnp::AnyPointer::Builder)> save;
  std::function<absl::Status(capnp::AnyPointer::Reader)> load;
};

class ScriptedHandler final : public StreamHandler {
 public:
  explicit ScriptedHandler(Script script) : script_(std::move(script)) {}

  void OnOpen(Stream& stream) override {
    if (script_.open) script_.open(stream);
  }
  size_t OnInput(Stream& stream, std::string_view input) override {
    if (script_.input) return script_.input(stream, input);
    stream.Write(input).IgnoreError();
    return input.size();
  }
  void OnEnd(Stream& stream) override {
    script_.end ? script_.end(stream) : StreamHandler::OnEnd(stream);
  }
  void OnDrained(Stream& stream) override {
    if (script_.drained) script_.drained(stream);
  }
  void OnClose(Stream& stream) override {
    if (script_.close) script_.close(stream);
  }
  absl::Status Save(capnp::AnyPointer::Builder state) const override {
    return script_.save ? script_.save(state) : absl::OkStatus();
  }
  absl::Status Load(capnp::AnyPointer::Reader state) override {
    return script_.load ? script_.load(state) : absl::OkStatus();
  }

 private:
  const Script script_;
};

// For StreamServerOptions::make_handler: the same script for every connection.
inline std::function<std::unique_ptr<StreamHandler>(Stream&)> Scripted(Script script) {
  return
      [script = std::move(script)](Stream&) { return std::make_unique<ScriptedHandler>(script); };
}

// Consumes whole lines, and sends each back.
inline size_t EchoLines(Stream& stream, std::string_view input) {
  const size_t end = input.rfind('\n');
  if (end == std::string_view::npos) return 0;
  stream.Write(input.substr(0, end + 1)).IgnoreError();
  return end + 1;
}

}  // namespace liveexec::uv::testing

#endif  // LIVEEXEC_HANDOFF_UV_TESTING_SCRIPTED_HANDLER_H_
