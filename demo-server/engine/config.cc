#include "demo-server/engine/config.h"

#include "absl/strings/ascii.h"
#include "demo-server/protocol/glob.h"

namespace liveexec::demo {
namespace {

std::string Lower(std::string_view text) { return absl::AsciiStrToLower(std::string(text)); }

constexpr std::pair<const char*, const char*> kDefaults[] = {
    {"activedefrag", "no"},
    {"appendfilename", "appendonly.aof"},
    {"appendfsync", "everysec"},
    {"appendonly", "no"},
    {"bind", "127.0.0.1"},
    {"client-output-buffer-limit", "normal 0 0 0 slave 0 0 0 pubsub 0 0 0"},
    {"databases", "16"},
    {"dbfilename", ""},
    {"dir", "/"},
    {"enable-debug-command", "no"},
    {"hash-max-listpack-entries", "128"},
    {"hash-max-listpack-value", "64"},
    {"hash-max-ziplist-entries", "128"},
    {"hash-max-ziplist-value", "64"},
    {"hz", "10"},
    {"io-threads", "1"},
    {"latency-monitor-threshold", "0"},
    {"lfu-decay-time", "1"},
    {"lfu-log-factor", "10"},
    {"list-compress-depth", "0"},
    {"list-max-listpack-size", "-2"},
    {"list-max-ziplist-size", "-2"},
    {"lua-time-limit", "5000"},
    {"maxclients", "10000"},
    {"maxmemory", "0"},
    {"maxmemory-clients", "0"},
    {"maxmemory-policy", "noeviction"},
    {"maxmemory-samples", "5"},
    {"notify-keyspace-events", ""},
    {"port", "6379"},
    {"proto-max-bulk-len", "536870912"},
    {"requirepass", ""},
    {"save", ""},
    {"set-max-intset-entries", "512"},
    {"slowlog-log-slower-than", "10000"},
    {"slowlog-max-len", "128"},
    {"tcp-backlog", "511"},
    {"tcp-keepalive", "300"},
    {"timeout", "0"},
    {"unixsocket", ""},
    {"zset-max-listpack-entries", "128"},
    {"zset-max-listpack-value", "64"},
    {"zset-max-ziplist-entries", "128"},
    {"zset-max-ziplist-value", "64"},
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
    for (std::string_view pattern : patterns) {
      if (!GlobMatch(pattern, name, /*ignore_case=*/true)) continue;
      found.emplace_back(name, value);
      break;
    }
  }
  return found;
}

}  // namespace liveexec::demo
