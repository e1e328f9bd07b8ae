#include "tests/faults/victim/side_port.h"

#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "handoff/inheritance.h"
#include "tests/faults/victim/misbehaviour.h"

namespace liveexec::faults {

size_t SidePort::OnInput(uv::Stream& stream, std::string_view input) {
  const size_t end = input.rfind('\n');
  if (end == std::string_view::npos) return 0;
  const absl::string_view lines(input.data(), end);
  for (const absl::string_view line : absl::StrSplit(lines, '\n')) {
    ++context_.state->side_requests;
    const std::string answer = Answer(std::string_view(line.data(), line.size())) + "\n";
    stream.Write(answer).IgnoreError();
  }
  return end + 1;
}

std::string SidePort::Answer(std::string_view line) {
  const std::pair<std::string, std::string> words =
      absl::StrSplit(absl::string_view(line.data(), line.size()), absl::MaxSplits(' ', 1));
  const auto& [command, argument] = words;
  int64_t number = 0;
  if (!absl::SimpleAtoi(argument, &number)) number = 0;
  if (command == "stats") return Stats();
  if (command == "upgrade") {
    Upgrade(argument);
  } else if (command == "block") {
    // After the answer has left.
    context_.main->Post([] { StopAt("block"); });
  } else if (command == "block-last") {
    context_.last->Post([] { StopAt("block"); });
  } else if (command == "drop") {
    context_.state->DropSpecial();
  } else if (command == "pool") {
    StopPoolThread();
  } else if (command == "spawn") {
    SpawnChildren(static_cast<int>(number));
  } else {
    return "unknown";
  }
  return "asked";
}

std::string SidePort::Stats() const {
  const State& state = *context_.state;
  return absl::StrCat(
      "role=", kRole, " pid=", getpid(), " generation=", context_.upgrader->generation(),
      " mode=", std::string(StartModeName(ProcessInheritance().mode)),
      " echoed=", state.echoed.load(), " clients=", context_.clients(),
      " children=", context_.children->pids().size(), " child_exits=", state.child_exits.load(),
      " user_signals=", state.user_signals.load(), " side=", state.side_requests.load(),
      " pool_works=", state.pool_works.load());
}

void SidePort::Upgrade(std::string path) {
  context_.upgrader->Request({.binary = std::move(path), .trigger = "api"},
                             [](const JournalEntry& entry) {
                               printf("abandoned %s\n", entry.code.c_str());
                               fflush(stdout);
                             });
}

void SidePort::StopPoolThread() {
  auto* work = new uv_work_t;
  work->data = context_.state;
  uv_queue_work(
      context_.main->loop(), work, [](uv_work_t*) { StopAt("pool"); },
      [](uv_work_t* done, int) {
        ++static_cast<State*>(done->data)->pool_works;
        delete done;
      });
}

void SidePort::SpawnChildren(int count) {
  for (int i = 0; i < count; ++i) {
    auto child = context_.children->Spawn(
        {.argv = {"/bin/cat", Directory() + "/gate"}, .out = uv::ChildStdio::kNull, .tag = "gate"});
    if (!child.ok()) fprintf(stderr, "spawn: %s\n", child.status().ToString().c_str());
  }
}

}  // namespace liveexec::faults
