// An echo server that does one thing wrong with its upgrades.
//
//   echo_mutant PORT CONTROL [--mutant FAULT]
//
// Besides the saboteur's faults it has those of a stream. Each strikes once after an upgrade, on a
// connection that came across:
//   drop-connection   closes it              lose-byte    leaves one byte out
//   double-byte       sends one twice        alter-byte   turns one bit
//   reorder           swaps two pieces       fall-silent  never answers it again
#include <signal.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "demo-server/mutants/saboteur.h"
#include "handoff/program_note.h"
#include "handoff/upgrader.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream_server.h"

LIVEEXEC_APPLICATION("echo-mutant", "1.0.0");
LIVEEXEC_COMPONENT("saboteur", 1, 1);
LIVEEXEC_COMPONENT("clients", 1, 1);

namespace liveexec::mutants {
namespace {

constexpr size_t kPiece = 50;  // bytes that change places

// The fault of this program's streams, until it has struck.
struct StreamFault {
  std::string name;
  bool armed = false;  // only after an upgrade

  bool Fits(size_t size) const { return armed && size >= (name == "reorder" ? 3 * kPiece : 8); }
};

class Echo : public uv::StreamHandler {
 public:
  Echo(StreamFault& fault, bool carried) : fault_(fault), carried_(carried) {}

  size_t OnInput(uv::Stream& stream, std::string_view input) override {
    if (silent_) return input.size();
    if (carried_ && fault_.Fits(input.size())) {
      Strike(stream, std::string(input));
    } else {
      stream.Write(input).IgnoreError();
    }
    return input.size();
  }

 private:
  void Strike(uv::Stream& stream, std::string bytes) {
    fault_.armed = false;
    const size_t middle = bytes.size() / 2;
    if (fault_.name == "lose-byte") bytes.erase(middle, 1);
    if (fault_.name == "double-byte") bytes.insert(middle, 1, bytes[middle]);
    if (fault_.name == "alter-byte") bytes[middle] = static_cast<char>(bytes[middle] ^ 1);
    if (fault_.name == "reorder")
      bytes = bytes.substr(kPiece, kPiece) + bytes.substr(0, kPiece) + bytes.substr(2 * kPiece);
    if (fault_.name == "drop-connection") return stream.Close();
    silent_ = fault_.name == "fall-silent";
    if (!silent_) stream.Write(bytes).IgnoreError();
  }

  StreamFault& fault_;
  bool carried_;
  bool silent_ = false;
};

absl::Status Serve(const char* port, const char* control, const std::string& fault) {
  uv::LoopExecutor executor(uv_default_loop());
  auto upgrader = Upgrader::Create(executor, {.control_socket = control});
  if (!upgrader.ok()) return upgrader.status();
  StreamFault stream_fault{.name = fault};
  bool started = false;
  Saboteur saboteur(fault);
  uv::StreamServer clients(
      {.name = "clients", .loops = {&executor}, .make_handler = [&](uv::Stream&) {
         return std::make_unique<Echo>(stream_fault, !started);
       }});
  absl::Status status = (*upgrader)->Register(saboteur);
  if (status.ok()) status = (*upgrader)->Register(clients);
  if (status.ok() && (*upgrader)->fresh()) {
    status = clients.ListenTcp("127.0.0.1", atoi(port)).status();
  }
  if (status.ok()) status = (*upgrader)->Start();
  if (!status.ok()) return status;
  started = true;
  stream_fault.armed = saboteur.upgraded();
  printf("listening on tcp 127.0.0.1:%d\n", clients.listening()[0].port);
  fflush(stdout);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  return absl::OkStatus();
}

}  // namespace
}  // namespace liveexec::mutants

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  const std::string fault = liveexec::mutants::TakeFault(argc, argv);
  absl::Status status =
      liveexec::mutants::Serve(argc > 1 ? argv[1] : "0", argc > 2 ? argv[2] : "", fault);
  fprintf(stderr, "echo_mutant: %s\n", status.ToString().c_str());
  return 1;
}
