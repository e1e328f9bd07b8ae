#include "demo-server/engine/config.h"

#include "absl/strings/ascii.h"
#include "demo-server/protocol/glob.h"

namespace liveexec::demo {
namespace {

std::string Lower(std::string_view text) { return absl::AsciiStrToLower(std::string(text)); }

constexpr std::pair<const char*, const char*> kDefaults[] = {
    {"active-expire-effort", "1"},
    {"activedefrag", "no"},
    {"activerehashing", "yes"},
    {"aof-use-rdb-preamble", "yes"},
    {"appendfilename", "appendonly.aof"},
    {"appendfsync", "everysec"},
    {"appendonly", "no"},
    {"auto-aof-rewrite-min-size", "67108864"},
    {"auto-aof-rewrite-percentage", "100"},
    {"bind", "127.0.0.1"},
    {"busy-reply-threshold", "5000"},
    {"client-output-buffer-limit",
     "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"},
    {"client-query-buffer-limit", "1073741824"},
    {"cluster-enabled", "no"},
    {"crash-log-enabled", "yes"},
    {"databases", "16"},
    {"dbfilename", ""},
    {"dir", "/"},
    {"dynamic-hz", "yes"},
    {"enable-debug-command", "yes"},
    {"hash-max-listpack-entries", "128"},
    {"hash-max-listpack-value", "64"},
    {"hash-max-ziplist-entries", "128"},
    {"hash-max-ziplist-value", "64"},
    {"hz", "10"},
    {"io-threads", "1"},
    {"jemalloc-bg-thread", "yes"},
    {"latency-monitor-threshold", "0"},
    {"latency-tracking", "yes"},
    {"lazyfree-lazy-eviction", "no"},
    {"lazyfree-lazy-expire", "no"},
    {"lazyfree-lazy-server-del", "no"},
    {"lazyfree-lazy-user-del", "no"},
    {"lazyfree-lazy-user-flush", "no"},
    {"lfu-decay-time", "1"},
    {"lfu-log-factor", "10"},
    {"list-compress-depth", "0"},
    {"list-max-listpack-size", "-2"},
    {"list-max-ziplist-size", "-2"},
    {"loglevel", "notice"},
    {"lua-time-limit", "5000"},
    {"maxclients", "1000000"},
    {"maxmemory", "0"},
    {"maxmemory-clients", "0"},
    {"maxmemory-policy", "noeviction"},
    {"maxmemory-samples", "5"},
    {"min-replicas-to-write", "0"},
    {"min-slaves-to-write", "0"},
    {"no-appendfsync-on-rewrite", "no"},
    {"notify-keyspace-events", ""},
    {"oom-score-adj", "no"},
    {"port", "6379"},
    {"protected-mode", "yes"},
    {"proto-max-bulk-len", "536870912"},
    {"rdbchecksum", "yes"},
    {"rdbcompression", "yes"},
    {"repl-backlog-size", "1048576"},
    {"repl-diskless-load", "disabled"},
    {"repl-diskless-sync", "yes"},
    {"repl-diskless-sync-delay", "5"},
    {"repl-ping-replica-period", "10"},
    {"repl-timeout", "60"},
    {"replica-read-only", "yes"},
    {"replica-serve-stale-data", "yes"},
    {"replicaof", ""},
    {"requirepass", ""},
    {"sanitize-dump-payload", "no"},
    {"save", ""},
    {"set-max-intset-entries", "512"},
    {"set-proc-title", "yes"},
    {"slowlog-log-slower-than", "10000"},
    {"slowlog-max-len", "128"},
    {"stop-writes-on-bgsave-error", "yes"},
    {"stream-node-max-bytes", "4096"},
    {"stream-node-max-entries", "100"},
    {"tcp-backlog", "511"},
    {"tcp-keepalive", "300"},
    {"timeout", "0"},
    {"tracking-table-max-keys", "1000000"},
    {"unixsocket", ""},
    {"zset-max-listpack-entries", "128"},
    {"zset-max-listpack-value", "64"},
    {"zset-max-ziplist-entries", "128"},
    {"zset-max-ziplist-value", "64"},
    // Hidden: settings of DEBUG and CLIENT PAUSE.
    {kActiveExpire, "1"},
    {kPauseUntilMs, "0"},
    {kPauseWritesOnly, "0"},
};

}  // namespace

Config::Config() {
  for (const auto& [name, value] : kDefaults) values_.emplace(name, value);
}

void Config::Define(std::string_view name, std::string_view value) {
  values_[Lower(name)] = std::string(value);
}

bool Config::Set(std::string_view name, std::string_view value) {
  auto found = values_.find(Lower(name));
  if (found == values_.end()) return false;
  found->second = std::string(value);
  changed_[found->first] = found->second;
  return true;
}

std::string Config::Get(std::string_view name) const {
  auto found = values_.find(Lower(name));
  return found == values_.end() ? std::string() : found->second;
}

std::vector<std::pair<std::string, std::string>> Config::Matching(
    const std::vector<std::string_view>& patterns) const {
  std::vector<std::pair<std::string, std::string>> found;
  for (const auto& [name, value] : values_) {
    if (name[0] == '.') continue;
    for (std::string_view pattern : patterns) {
      if (!GlobMatch(pattern, name, /*ignore_case=*/true)) continue;
      found.emplace_back(name, value);
      break;
    }
  }
  return found;
}

}  // namespace liveexec::demo
