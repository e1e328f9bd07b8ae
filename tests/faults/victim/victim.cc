// A server that is upgraded to worse ones: the fault matrix's victim, and its villains too.
//
//   victim DIR [name=value,...]
//
// An echo server on TCP (its port is in the line that it writes when it serves), with a side port
// DIR/side, a control socket DIR/run/control, a locked file DIR/data, and a child. Options:
// threads, pad (bytes of state), rehearse, custodian, store (listeners and journal in the
// supervisor's fd store), thread (the framework's own, at all times), exit (the status with which
// it ends), and in milliseconds check, rehearsal, precopy, quiesce, budget, rehydrate.
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include <map>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "handoff/inheritance.h"
#include "handoff/program_note.h"
#include "handoff/resident_memory.h"
#include "handoff/upgrader.h"
#include "handoff/uv/child_processes.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/loop_threads.h"
#include "handoff/uv/signal_watchers.h"
#include "handoff/uv/stream_server.h"
#include "tests/faults/victim/client_fault.h"
#include "tests/faults/victim/misbehaviour.h"
#include "tests/faults/victim/side_port.h"
#include "tests/faults/victim/state.h"

LIVEEXEC_COMPONENT("memory", 1, 1);
LIVEEXEC_COMPONENT("clients", 1, 1);
LIVEEXEC_COMPONENT("side", 1, 1);
LIVEEXEC_COMPONENT("children", 1, 1);
LIVEEXEC_COMPONENT("signals", 1, 1);

namespace liveexec::faults {
namespace {

constexpr uint64_t kResidentBytes = 16 << 20;

using uv::LoopExecutor;
using uv::StreamServer;

// As a plugin, or a global with a constructor, would.
__attribute__((constructor)) void BeforeMain(int argc, char** argv, char**) {
  if (argc > 1) SetDirectory(argv[1]);
  Reach("static").IgnoreError();
}

using Options = std::map<std::string, int64_t>;

Options ParseOptions(const char* text) {
  Options options = {{"threads", 1}, {"rehearse", 1}, {"custodian", 1},
                     {"store", 0},   {"thread", 0},   {"exit", 0}};
  for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(item, '=');
    int64_t value = 0;
    if (absl::SimpleAtoi(pair.second, &value)) options[pair.first] = value;
  }
  return options;
}

UpgraderOptions ToUpgraderOptions(const Options& options) {
  UpgraderOptions result;
  result.control_socket = Directory() + "/run/control";
  const auto set = [&](const char* name, absl::Duration& duration) {
    if (const auto found = options.find(name); found != options.end()) {
      duration = absl::Milliseconds(found->second);
    }
  };
  set("check", result.check_deadline);
  set("rehearsal", result.rehearsal_deadline);
  set("precopy", result.precopy_deadline);
  set("quiesce", result.quiesce_deadline);
  set("budget", result.blackout_budget);
  set("rehydrate", result.rehydrate_deadline);
  result.rehearse = options.at("rehearse") != 0;
  result.custodian = options.at("custodian") != 0;
  result.own_thread = options.at("thread") != 0;
  result.keep_journal = options.at("store") != 0;
  return result;
}

class Echo final : public uv::StreamHandler {
 public:
  Echo(State& state, ClientFault& fault) : state_(state), fault_(fault) {}
  size_t OnInput(uv::Stream& stream, std::string_view input) override {
    state_.echoed += input.size();
    if (!fault_.Strikes(stream, input)) stream.Write(input).IgnoreError();
    return input.size();
  }

 private:
  State& state_;
  ClientFault& fault_;
};

class Victim {
 public:
  Victim(Options options, LoopExecutor& executor)
      : options_(std::move(options)),
        executor_(executor),
        memory_({.layout = kLayout, .capacity = kResidentBytes, .shards = 2}),
        state_(static_cast<size_t>(options_["pad"]), options_["pause"] != 0, memory_,
               [this] { OnActivate(); }),
        signals_("signals", executor),
        children_("children", executor, [this](const uv::ChildExit&) { ++state_.child_exits; }) {}

  absl::Status Serve() {
    absl::Status status = WatchSignals();
    auto upgrader = Upgrader::Create(executor_, ToUpgraderOptions(options_));
    if (!upgrader.ok()) return upgrader.status();
    upgrader_ = *std::move(upgrader);
    const int further = static_cast<int>(options_["threads"]) - 1;
    absl::Status served;
    if (status.ok()) {
      status = uv::WithLoopThreads(
          *upgrader_, further, [&](absl::Span<LoopExecutor* const> loops) { served = Run(loops); });
    }
    // It is used by what other threads may still be doing until here.
    upgrader_.reset();
    return status.ok() ? served : status;
  }

 private:
  absl::Status WatchSignals() {
    absl::Status status =
        signals_.Watch(SIGTERM, [this](const signalfd_siginfo&) { uv_stop(executor_.loop()); });
    if (!status.ok()) return status;
    return signals_.Watch(SIGUSR1, [this](const signalfd_siginfo&) { ++state_.user_signals; });
  }

  absl::Status Run(absl::Span<LoopExecutor* const> further) {
    std::vector<LoopExecutor*> loops = {&executor_};
    loops.insert(loops.end(), further.begin(), further.end());
    const bool store = options_["store"] != 0;
    StreamServer clients(
        {.name = "clients",
         .loops = loops,
         .make_handler = [&](uv::Stream&) { return std::make_unique<Echo>(state_, fault_); },
         .fd_store = store});
    clients_ = &clients;
    StreamServer side(
        {.name = "side",
         .loops = {&executor_},
         .make_handler = [&](uv::Stream&) { return std::make_unique<SidePort>(side_); },
         .fd_store = store});
    side_ = {.upgrader = upgrader_.get(),
             .main = &executor_,
             .last = loops.back(),
             .children = &children_,
             .state = &state_,
             .clients = [&] { return clients.size(); }};
    for (Component* component : std::initializer_list<Component*>{&memory_, &clients, &side,
                                                                  &signals_, &children_, &state_}) {
      if (absl::Status status = upgrader_->Register(*component); !status.ok()) return status;
    }
    if (upgrader_->fresh()) {
      if (absl::Status status = Listen(clients, side); !status.ok()) return status;
    }
    if (absl::Status status = upgrader_->Start(); !status.ok()) return status;
    uv_run(executor_.loop(), UV_RUN_DEFAULT);
    return absl::OkStatus();
  }

  absl::Status Listen(StreamServer& clients, StreamServer& side) {
    auto port = clients.ListenTcp("127.0.0.1", 0);
    if (!port.ok()) return port.status();
    auto child = children_.Spawn({.argv = {"/bin/sleep", "1000000"},
                                  .out = uv::ChildStdio::kNull,
                                  .err = uv::ChildStdio::kNull});
    if (!child.ok()) return child.status();
    return side.ListenUnix(Directory() + "/side", 0600);
  }

  void OnActivate() {
    fault_.Arm();
    if (PlanFor("activate") == "kill-child") {
      for (pid_t child : children_.pids()) kill(child, SIGKILL);
    }
    printf("victim %s ready pid=%d generation=%llu mode=%s tcp %d\n", kRole, getpid(),
           static_cast<unsigned long long>(upgrader_->generation()),
           std::string(StartModeName(ProcessInheritance().mode)).c_str(),
           clients_->listening()[0].port);
    fflush(stdout);
  }

  Options options_;
  LoopExecutor& executor_;
  ResidentMemory memory_;
  State state_;
  ClientFault fault_;
  uv::SignalWatchers signals_;
  uv::ChildProcesses children_;
  std::unique_ptr<Upgrader> upgrader_;
  StreamServer* clients_ = nullptr;
  SidePortContext side_;
};

absl::Status RunVictim(const Options& options) {
  uv_loop_t loop;
  if (const int error = uv_loop_init(&loop); error < 0) {
    return absl::InternalError(uv_strerror(error));
  }
  absl::Status status;
  {
    LoopExecutor executor(&loop);
    Victim victim(options, executor);
    status = victim.Serve();
  }
  absl::Status closed = uv::CloseLoop(&loop);
  return status.ok() ? closed : status;
}

}  // namespace
}  // namespace liveexec::faults

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  liveexec::faults::Reach("main").IgnoreError();
  const auto options = liveexec::faults::ParseOptions(argc > 2 ? argv[2] : "");
  const absl::Status status = liveexec::faults::RunVictim(options);
  if (status.ok()) {
    printf("victim stopped\n");
    return static_cast<int>(options.at("exit"));
  }
  fprintf(stderr, "victim: %s\n", status.ToString().c_str());
  return 1;
}
