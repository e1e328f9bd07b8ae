// INFO.
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <set>
#include <string>

#include "demo-server/commands/connection.h"
#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

// Collects "name:value" lines.
class Page {
 public:
  void Section(std::string_view name) {
    if (!text_.empty()) text_ += "\r\n";
    text_.append("# ").append(name).append("\r\n");
  }
  void Line(std::string_view name, std::string_view value) {
    text_.append(name).append(":").append(value).append("\r\n");
  }
  void Line(std::string_view name, uint64_t value) { Line(name, std::to_string(value)); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void Server(Engine& engine, Page& page) {
  const ProgramState& program = engine.program();
  utsname system{};
  uname(&system);
  const int64_t uptime = (engine.now() - engine.statistics().started_ms) / 1000;
  page.Section("Server");
  page.Line("redis_version", kRedisVersion);
  page.Line("redis_mode", "standalone");
  page.Line("demo_version", engine.options().version);
  page.Line("liveexec_generation", program.generation);
  page.Line("os", std::string(system.sysname) + " " + system.release + " " + system.machine);
  page.Line("arch_bits", 64);
  page.Line("multiplexing_api", "libuv");
  page.Line("process_id", static_cast<uint64_t>(getpid()));
  char run_id[41];
  snprintf(run_id, sizeof(run_id), "%016llx%016llx%08x",
           static_cast<unsigned long long>(engine.keyspace().seed()),
           static_cast<unsigned long long>(engine.statistics().started_ms),
           static_cast<unsigned>(getpid()));
  page.Line("run_id", run_id);
  page.Line("tcp_port", static_cast<uint64_t>(program.tcp_port));
  page.Line("server_time_usec", static_cast<uint64_t>(engine.now()) * 1000);
  page.Line("uptime_in_seconds", static_cast<uint64_t>(uptime));
  page.Line("uptime_in_days", static_cast<uint64_t>(uptime / 86400));
  page.Line("hz", 10);
  page.Line("io_threads", static_cast<uint64_t>(engine.options().loops));
  page.Line("executable", program.executable);
  page.Line("config_file", "");
}

void Clients(Engine& engine, Page& page) {
  page.Section("Clients");
  page.Line("connected_clients", engine.ClientCount());
  page.Line("maxclients", engine.config().Get("maxclients"));
  page.Line("blocked_clients", engine.blocked().size() + engine.postponed());
  page.Line("tracking_clients", engine.tracking().clients());
  page.Line("clients_in_timeout_table", engine.blocked().with_deadline());
}

uint64_t ResidentBytes() {
  FILE* file = fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  unsigned long total = 0;
  unsigned long resident = 0;
  const int fields = fscanf(file, "%lu %lu", &total, &resident);
  fclose(file);
  return fields == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

std::string Human(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "K", "M", "G", "T"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  char text[32];
  snprintf(text, sizeof(text), unit == 0 ? "%.0f%s" : "%.2f%s", value, kUnits[unit]);
  return text;
}

void Memory(Engine& engine, Page& page) {
  ResidentHeap::Usage data;
  if (storage_heap != nullptr) data = storage_heap->usage();
  const uint64_t used = Engine::UsedMemory();
  page.Section("Memory");
  page.Line("used_memory", used);
  page.Line("used_memory_human", Human(used));
  page.Line("used_memory_rss", ResidentBytes());
  page.Line("used_memory_rss_human", Human(ResidentBytes()));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  page.Line("used_memory_peak", static_cast<uint64_t>(usage.ru_maxrss) * 1024);
  page.Line("used_memory_peak_human", Human(static_cast<uint64_t>(usage.ru_maxrss) * 1024));
  page.Line("maxmemory", engine.config().Get("maxmemory"));
  page.Line("maxmemory_policy", engine.config().Get("maxmemory-policy"));
  page.Line("mem_allocator", storage_heap == nullptr ? "libc" : "liveexec");
  // The part that an upgrade hands over as it is.
  page.Line("resident_memory", data.used);
  page.Line("resident_memory_idle", data.idle);
  page.Line("resident_memory_capacity", data.capacity);
  page.Line("lazyfree_pending_objects", 0);
}

void Persistence(Engine& engine, Page& page) {
  page.Section("Persistence");
  page.Line("loading", 0);
  page.Line("async_loading", 0);
  page.Line("rdb_changes_since_last_save", engine.statistics().changes);
  page.Line("rdb_bgsave_in_progress", 0);
  page.Line("rdb_last_save_time", static_cast<uint64_t>(engine.statistics().started_ms / 1000));
  page.Line("rdb_last_bgsave_status", "ok");
  page.Line("aof_enabled", 0);
  page.Line("aof_rewrite_in_progress", 0);
}

// Carried by an upgrade and not loaded yet.
uint64_t PendingKeys(Engine& engine) {
  uint64_t keys = 0;
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    const PendingEntries* pending = engine.keyspace().database(i).pending();
    if (pending != nullptr) keys += pending->size();
  }
  return keys;
}

void Stats(Engine& engine, Page& page) {
  const Statistics& statistics = engine.statistics();
  const PubSub& pubsub = engine.pubsub();
  page.Section("Stats");
  page.Line("total_connections_received", statistics.connections);
  page.Line("total_commands_processed", statistics.commands);
  page.Line("instantaneous_ops_per_sec", engine.operations_per_second());
  page.Line("total_net_input_bytes", statistics.input_bytes);
  page.Line("total_net_output_bytes", statistics.output_bytes);
  page.Line("rejected_connections", statistics.rejected);
  page.Line("expired_keys", statistics.expired);
  page.Line("liveexec_lost_keys", statistics.lost_keys);
  page.Line("liveexec_pending_keys", PendingKeys(engine));
  page.Line("evicted_keys", statistics.evicted);
  page.Line("keyspace_hits", statistics.hits);
  page.Line("keyspace_misses", statistics.misses);
  page.Line("pubsub_channels", pubsub.subscribers(ChannelKind::kChannel).size());
  page.Line("pubsub_patterns", pubsub.subscribers(ChannelKind::kPattern).size());
  page.Line("pubsubshard_channels", pubsub.subscribers(ChannelKind::kShard).size());
  page.Line("tracking_total_keys", engine.tracking().keys());
  page.Line("tracking_total_items", engine.tracking().items());
  page.Line("tracking_total_prefixes", engine.tracking().prefixes());
  page.Line("total_error_replies", statistics.errors);
}

void Replication(Page& page) {
  page.Section("Replication");
  page.Line("role", "master");
  page.Line("connected_slaves", 0);
  page.Line("master_replid", "0000000000000000000000000000000000000000");
  page.Line("master_repl_offset", 0);
}

void Cpu(Page& page) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& time) {
    char text[48];
    snprintf(text, sizeof(text), "%lld.%06lld", static_cast<long long>(time.tv_sec),
             static_cast<long long>(time.tv_usec));
    return std::string(text);
  };
  page.Section("CPU");
  page.Line("used_cpu_sys", seconds(usage.ru_stime));
  page.Line("used_cpu_user", seconds(usage.ru_utime));
}

void CommandStats(Engine& engine, Page& page) {
  page.Section("Commandstats");
  for (const Command* command : engine.table().all()) {
    const uint64_t calls = engine.calls()[engine.table().IndexOf(*command)];
    if (calls == 0) continue;
    page.Line("cmdstat_" + std::string(command->name),
              "calls=" + std::to_string(calls) +
                  ",usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0");
  }
}

void Cluster(Page& page) {
  page.Section("Cluster");
  page.Line("cluster_enabled", 0);
}

void KeyspaceSection(Engine& engine, Page& page) {
  page.Section("Keyspace");
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    const Database& database = engine.keyspace().database(i);
    if (database.size() == 0) continue;
    page.Line("db" + std::to_string(i), "keys=" + std::to_string(database.size()) +
                                            ",expires=" + std::to_string(database.volatile_size()) +
                                            ",avg_ttl=0");
  }
}

void Info(Call& call) {
  std::set<std::string> wanted;
  for (size_t i = 1; i < call.size(); ++i) {
    std::string name(call[i]);
    for (char& c : name) c = static_cast<char>(tolower(static_cast<unsigned char>(c)));
    wanted.insert(name);
  }
  const bool everything = wanted.contains("all") || wanted.contains("everything");
  const bool defaults = wanted.empty() || everything || wanted.contains("default");
  auto wants = [&](const char* name) { return defaults || wanted.contains(name); };
  Engine& engine = call.engine();
  Page page;
  if (wants("server")) Server(engine, page);
  if (wants("clients")) Clients(engine, page);
  if (wants("memory")) Memory(engine, page);
  if (wants("persistence")) Persistence(engine, page);
  if (wants("stats")) Stats(engine, page);
  if (wants("replication")) Replication(page);
  if (wants("cpu")) Cpu(page);
  if (everything || wanted.contains("commandstats")) CommandStats(engine, page);
  if (wants("cluster")) Cluster(page);
  if (wants("keyspace")) KeyspaceSection(engine, page);
  call.reply().Verbatim(page.text());
}

constexpr Command kCommands[] = {
    {"info", -1, 0, 0, 0, 0, Group::kServer, Info, "Facts about the server"},
};

}  // namespace

absl::Span<const Command> InfoCommands() { return kCommands; }

}  // namespace liveexec::demo
