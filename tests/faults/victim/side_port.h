// The victim's second listener: lines for the test, served on the main loop.
//
//   stats            one line: "role=v1 pid=7 generation=0 mode=fresh echoed=0 clients=3 ..."
//   upgrade [PATH]   asks the upgrader, as an application would; "asked". If this program goes on,
//                    it writes "abandoned CODE" to its output
//   block            the main loop stops in a callback: StopAt("block")
//   block-last       the last of several loops does
//   pool             a thread of libuv's pool stops: StopAt("pool")
//   drop             closes the fd that the plan had it open: carry-...
//   spawn N          N children that end when nobody has DIR/gate open for writing any more
#ifndef LIVEEXEC_TESTS_FAULTS_VICTIM_SIDE_PORT_H_
#define LIVEEXEC_TESTS_FAULTS_VICTIM_SIDE_PORT_H_

#include <functional>
#include <string>
#include <string_view>

#include "handoff/upgrader.h"
#include "handoff/uv/child_processes.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream.h"
#include "tests/faults/victim/state.h"

namespace liveexec::faults {

// What the side port speaks for; all borrowed.
struct SidePortContext {
  Upgrader* upgrader = nullptr;
  uv::LoopExecutor* main = nullptr;
  uv::LoopExecutor* last = nullptr;  // of its loops; with one thread the main one
  uv::ChildProcesses* children = nullptr;
  State* state = nullptr;
  std::function<size_t()> clients;
};

class SidePort final : public uv::StreamHandler {
 public:
  explicit SidePort(const SidePortContext& context) : context_(context) {}
  size_t OnInput(uv::Stream& stream, std::string_view input) override;

 private:
  std::string Answer(std::string_view line);
  std::string Stats() const;
  void Upgrade(std::string path);
  void StopPoolThread();
  void SpawnChildren(int count);

  const SidePortContext& context_;
};

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_VICTIM_SIDE_PORT_H_
