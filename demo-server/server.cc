#include "demo-server/server.h"

#include <unistd.h>

#include <cstdio>
#include <future>
#include <mutex>
#include <random>
#include <utility>

#include "core/error.h"
#include "demo-server/commands/families.h"

namespace liveexec::demo {
namespace {

EngineOptions MakeEngineOptions(const StateFormat& format, size_t loops) {
  std::random_device random;
  EngineOptions options;
  options.version = std::string(format.version());
  options.access_statistics = format.has_access_statistics();
  options.seed = (uint64_t{random()} << 32) | random();
  options.loops = static_cast<int>(loops);
  options.commands = AllCommands();
  return options;
}

ResidentMemoryOptions MemoryOptions(const Options& options, const StateFormat& format) {
  ResidentMemoryOptions memory;
  memory.layout = format.data_layout();
  if (!options.resident) return memory;
  memory.capacity =
      options.resident_capacity == 0 ? ResidentMemory::kAsMuchAsThereIs : options.resident_capacity;
  return memory;
}

std::string OwnPath() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  return size < 0 ? std::string() : std::string(path, static_cast<size_t>(size));
}

std::string DescribeUpgrade(const JournalEntry& entry) {
  std::string line = std::to_string(entry.upgrade) + " " + entry.from_version + " -> " +
                     entry.to_version + " " + std::string(OutcomeName(entry.outcome));
  if (!entry.code.empty()) line += " " + entry.code;
  if (entry.blackout_ns > 0) {
    line += " blackout_us=" + std::to_string(entry.blackout_ns / 1000);
  }
  if (!entry.message.empty()) line += " " + entry.message;
  return line;
}

}  // namespace

Server::Server(const Options& options, const StateFormat& format, Upgrader& upgrader,
               std::vector<uv::LoopExecutor*> loops)
    : options_(options),
      format_(format),
      upgrader_(upgrader),
      loops_(std::move(loops)),
      engine_(MakeEngineOptions(format, loops_.size()), this),
      memory_(MemoryOptions(options, format)),
      keyspace_(engine_, format_, memory_, *loops_[0]),
      connections_(std::in_place, ConnectionOptions()),
      living_connections_(&*connections_) {
  for (size_t i = 0; i < loops_.size(); ++i) {
    shared_.push_back({.engine = &engine_,
                       .format = &format_,
                       .loop = static_cast<int>(i),
                       .executor = loops_[i],
                       .connections = &*connections_,
                       .output = {}});
  }
}

Server::~Server() {
  serving_ = false;
  // It ends when each loop has come to the end of what it is at.
  living_connections_ = nullptr;
  connections_.reset();
  // What the loops posted to each other before that uses the engine.
  for (size_t i = 1; i < loops_.size(); ++i) {
    std::promise<void> done;
    loops_[i]->Post([&done] { done.set_value(); });
    done.get_future().wait();
  }
  if (timer_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(timer_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

uv::StreamServerOptions Server::ConnectionOptions() {
  uv::StreamServerOptions options;
  options.name = "clients";
  options.loops = loops_;
  options.make_handler = [this](uv::Stream& stream) { return MakeHandler(stream); };
  return options;
}

std::unique_ptr<uv::StreamHandler> Server::MakeHandler(uv::Stream& stream) {
  size_t loop = 0;
  while (loops_[loop] != &stream.executor()) ++loop;
  // Only the one UNIX listener has a path; it comes last.
  const bool is_unix = !options_.unix_socket.empty() && stream.listener() >= options_.bind.size();
  return std::make_unique<ClientHandler>(stream, shared_[loop],
                                         is_unix ? options_.unix_socket : std::string());
}

absl::Status Server::Start() {
  LIVEEXEC_RETURN_IF_ERROR(upgrader_.Register(memory_));
  LIVEEXEC_RETURN_IF_ERROR(upgrader_.Register(keyspace_));
  LIVEEXEC_RETURN_IF_ERROR(upgrader_.Register(*connections_));
  if (upgrader_.fresh()) LIVEEXEC_RETURN_IF_ERROR(Listen());
  LIVEEXEC_RETURN_IF_ERROR(upgrader_.Start());
  RefreshProgramState();
  StartTimer();
  serving_ = true;
  // What rehydrated sessions had not been given yet.
  for (size_t i = 0; i < loops_.size(); ++i) WakeLoop(static_cast<int>(i));
  Announce();
  return absl::OkStatus();
}

size_t Server::Connections() {
  uv::StreamServer* connections = living_connections_;
  return connections == nullptr ? 0 : connections->size();
}

bool Server::AnyAside() {
  uv::StreamServer* connections = living_connections_;
  return connections != nullptr && connections->HasAside();
}

absl::Status Server::Listen() {
  int port = options_.port;
  for (const std::string& host : options_.bind) {
    // With --port 0 all addresses get the port that the first one got.
    LIVEEXEC_ASSIGN_OR_RETURN(port, connections_->ListenTcp(host, port));
  }
  if (options_.unix_socket.empty()) return absl::OkStatus();
  constexpr mode_t kMode = 0700;
  return connections_->ListenUnix(options_.unix_socket, kMode);
}

void Server::Announce() {
  for (const uv::Listening& listening : connections_->listening()) {
    if (listening.path.empty()) {
      printf("listening on tcp %s:%d\n", listening.host.c_str(), listening.port);
    } else {
      printf("listening on unix %s\n", listening.path.c_str());
    }
  }
  printf("demo-server %s ready pid=%d generation=%llu\n", std::string(format_.version()).c_str(),
         getpid(), static_cast<unsigned long long>(upgrader_.generation()));
  fflush(stdout);
}

void Server::RefreshProgramState() {
  const Journal journal = upgrader_.journal();
  const auto& entries = journal.entries();
  std::lock_guard lock(engine_.mutex());
  ProgramState& program = engine_.program();
  program.generation = upgrader_.generation();
  program.executable = OwnPath();
  for (const uv::Listening& listening : connections_->listening()) {
    if (listening.path.empty() && program.tcp_port == 0) program.tcp_port = listening.port;
  }
  engine_.config().Define("port", std::to_string(program.tcp_port));
  engine_.config().Define("unixsocket", options_.unix_socket);
  program.history.clear();
  for (const JournalEntry& entry : entries) program.history.push_back(DescribeUpgrade(entry));
  last_upgrade_ = entries.empty() ? 0 : entries.back().upgrade;
}

void Server::StartTimer() {
  timer_ = new uv_timer_t;
  uv_timer_init(loops_[0]->loop(), timer_);
  timer_->data = this;
  Tick();
}

void Server::Tick() {
  tick_wanted_ = false;
  const int next = engine_.RunTimers();
  FlushPending(engine_, 0);
  if (upgrader_.last_upgrade() != last_upgrade_) RefreshProgramState();
  uv_timer_start(
      timer_, [](uv_timer_t* timer) { static_cast<Server*>(timer->data)->Tick(); },
      static_cast<uint64_t>(next), 0);
}

void Server::Stop() {
  connections_->StopListening();
  uv_stop(loops_[0]->loop());
}

// ---- What the engine asks for.

void Server::WakeLoop(int loop) {
  if (!serving_) return;
  loops_[static_cast<size_t>(loop)]->Post([this, loop] { FlushPending(engine_, loop); });
}

void Server::DeadlineMoved() {
  if (!serving_ || tick_wanted_.exchange(true)) return;
  loops_[0]->Post([this] { Tick(); });
}

void Server::RequestShutdown() {
  loops_[0]->Post([this] { Stop(); });
}

void Server::RequestUpgrade(std::string_view binary) {
  loops_[0]->Post([this, path = std::string(binary)] {
    upgrader_.Request({.binary = path, .trigger = "api"}, [](const JournalEntry&) {});
  });
}

}  // namespace liveexec::demo
