#include "demo-server/engine/config_values.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "demo-server/engine/call.h"
#include "demo-server/protocol/number.h"

namespace liveexec::demo {
namespace {

// Given on the command line, or what this server cannot change.
constexpr std::string_view kFixed[] = {"appendfilename", "bind",        "cluster-enabled",
                                       "databases",      "io-threads",  "enable-debug-command",
                                       "port",           "rdbchecksum", "replicaof",
                                       "set-proc-title", "tcp-backlog", "unixsocket"};

// Numbers of bytes, with the least one.
struct MemoryParameter {
  std::string_view name;
  int64_t least;
};
constexpr MemoryParameter kMemory[] = {{"auto-aof-rewrite-min-size", 0},
                                       {"client-query-buffer-limit", 1 << 20},
                                       {"hash-max-listpack-value", 0},
                                       {"hash-max-ziplist-value", 0},
                                       {"maxmemory", 0},
                                       {"proto-max-bulk-len", 1 << 20},
                                       {"repl-backlog-size", 1},
                                       {"stream-node-max-bytes", 0},
                                       {"zset-max-listpack-value", 0},
                                       {"zset-max-ziplist-value", 0}};

struct NumberParameter {
  std::string_view name;
  int64_t least;
  int64_t most;
};
constexpr int64_t kInt = std::numeric_limits<int32_t>::max();
constexpr int64_t kLong = std::numeric_limits<int64_t>::max();
constexpr NumberParameter kNumbers[] = {{"active-expire-effort", 1, 10},
                                        {"auto-aof-rewrite-percentage", 0, kInt},
                                        {"busy-reply-threshold", 0, kLong},
                                        {"hash-max-listpack-entries", 0, kLong},
                                        {"hash-max-ziplist-entries", 0, kLong},
                                        {"hz", 0, kInt},
                                        {"latency-monitor-threshold", 0, kLong},
                                        {"lfu-decay-time", 0, kInt},
                                        {"lfu-log-factor", 0, kInt},
                                        {"list-compress-depth", 0, kInt},
                                        {"list-max-listpack-size", -kInt - 1, kInt},
                                        {"list-max-ziplist-size", -kInt - 1, kInt},
                                        {"lua-time-limit", 0, kLong},
                                        {"maxclients", 1, std::numeric_limits<uint32_t>::max()},
                                        {"maxmemory-samples", 1, kInt},
                                        {"min-replicas-to-write", 0, kInt},
                                        {"min-slaves-to-write", 0, kInt},
                                        {"repl-diskless-sync-delay", 0, kInt},
                                        {"repl-ping-replica-period", 1, kInt},
                                        {"repl-timeout", 1, kInt},
                                        {"set-max-intset-entries", 0, kLong},
                                        {"slowlog-log-slower-than", -1, kLong},
                                        {"slowlog-max-len", 0, kLong},
                                        {"stream-node-max-entries", 0, kLong},
                                        {"tcp-keepalive", 0, kInt},
                                        {"timeout", 0, kInt},
                                        {"tracking-table-max-keys", 0, kLong},
                                        {"zset-max-listpack-entries", 0, kLong},
                                        {"zset-max-ziplist-entries", 0, kLong}};

// Words, as the error lists them.
struct ChoiceParameter {
  std::string_view name;
  std::string_view choices;
};
constexpr ChoiceParameter kChoices[] = {
    {"appendfsync", "everysec, always, no"},
    {"loglevel", "debug, verbose, notice, warning"},
    {"maxmemory-policy",
     "volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, "
     "allkeys-random, noeviction"},
    {"oom-score-adj", "no, yes, relative, absolute"},
    {"repl-diskless-load", "disabled, on-empty-db, swapdb"},
    {"sanitize-dump-payload", "no, yes, clients"}};

template <typename Parameter, size_t N>
const Parameter* Find(std::string_view name, const Parameter (&parameters)[N]) {
  const Parameter* found =
      std::find_if(std::begin(parameters), std::end(parameters),
                   [&](const Parameter& parameter) { return parameter.name == name; });
  return found == std::end(parameters) ? nullptr : found;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return lower;
}

std::vector<std::string_view> SplitWords(std::string_view text, std::string_view between = " ") {
  std::vector<std::string_view> words;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(between), text.size()));
    if (text.empty()) return words;
    words.push_back(text.substr(0, text.find_first_of(between)));
    text.remove_prefix(words.back().size());
  }
}

OutputLimit* ClassOf(std::string_view name, OutputLimits* limits) {
  if (IsWord(name, "normal")) return &limits->normal;
  if (IsWord(name, "slave") || IsWord(name, "replica")) {
    return &limits->replica;
  }
  return IsWord(name, "pubsub") ? &limits->pubsub : nullptr;
}

}  // namespace

bool ParseMemory(std::string_view text, int64_t* bytes) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  int64_t number = 0;
  // No digit at all is zero, as for Redis.
  if (digits > 0 && !ParseInteger(text.substr(0, digits), &number)) return false;
  const std::string unit = Lower(text.substr(digits));
  int64_t factor = 0;
  if (unit.empty() || unit == "b") factor = 1;
  if (unit == "k") factor = 1000;
  if (unit == "kb") factor = 1 << 10;
  if (unit == "m") factor = 1000 * 1000;
  if (unit == "mb") factor = 1 << 20;
  if (unit == "g") factor = 1000 * 1000 * 1000;
  if (unit == "gb") factor = 1 << 30;
  if (factor == 0 || number > std::numeric_limits<int64_t>::max() / factor) return false;
  *bytes = number * factor;
  return true;
}

std::string ReadOutputLimits(std::string_view text, OutputLimits* limits) {
  const std::vector<std::string_view> words = SplitWords(text);
  if (words.empty() || words.size() % 4 != 0) {
    return "Wrong number of arguments in buffer limit configuration.";
  }
  OutputLimits changed = *limits;
  for (size_t i = 0; i < words.size(); i += 4) {
    OutputLimit* limit = ClassOf(words[i], &changed);
    if (limit == nullptr) return "Invalid client class specified in buffer limit configuration.";
    if (!ParseMemory(words[i + 1], &limit->hard) || !ParseMemory(words[i + 2], &limit->soft) ||
        !ParseInteger(words[i + 3], &limit->soft_seconds) || limit->soft_seconds < 0) {
      return "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    }
  }
  *limits = changed;
  return "";
}

std::string FormatOutputLimits(const OutputLimits& limits) {
  auto one = [](const char* name, const OutputLimit& limit) {
    return std::string(name) + " " + std::to_string(limit.hard) + " " + std::to_string(limit.soft) +
           " " + std::to_string(limit.soft_seconds);
  };
  return one("normal", limits.normal) + " " + one("slave", limits.replica) + " " +
         one("pubsub", limits.pubsub);
}

namespace {

std::string OutOfRange(int64_t least, int64_t most) {
  return "argument must be between " + std::to_string(least) + " and " + std::to_string(most) +
         " inclusive";
}

std::string NormalizeMemory(const MemoryParameter& parameter, std::string& value) {
  int64_t number = 0;
  if (!ParseMemory(value, &number)) return "argument must be a memory value";
  if (number < parameter.least) return OutOfRange(parameter.least, kLong);
  value = std::to_string(number);
  return "";
}

std::string NormalizeNumber(const NumberParameter& parameter, std::string& value) {
  int64_t number = 0;
  if (!ParseInteger(value, &number)) return "argument couldn't be parsed into an integer";
  if (number < parameter.least || number > parameter.most) {
    return OutOfRange(parameter.least, parameter.most);
  }
  if (parameter.name == "hz") value = std::to_string(std::clamp<int64_t>(number, 1, 500));
  return "";
}

std::string NormalizeChoice(const ChoiceParameter& parameter, std::string& value) {
  value = Lower(value);
  const std::vector<std::string_view> choices = SplitWords(parameter.choices, ", ");
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return "";
  return "argument(s) must be one of the following: " + std::string(parameter.choices);
}

std::string NormalizeOutputLimits(std::string_view current, std::string& value) {
  OutputLimits limits;
  std::string error = ReadOutputLimits(current, &limits);
  if (error.empty() && !value.empty()) error = ReadOutputLimits(value, &limits);
  if (error.empty()) value = FormatOutputLimits(limits);
  return error;
}

// Bytes, or a share of maxmemory.
std::string NormalizeClientMemory(std::string& value) {
  int64_t number = 0;
  if (value.ends_with('%') && ParseInteger(value.substr(0, value.size() - 1), &number) &&
      number >= 0) {
    return "";
  }
  if (!ParseMemory(value, &number)) return "argument must be a memory or percent value";
  value = std::to_string(number);
  return "";
}

// Pairs of seconds and changes.
std::string CheckSavePoints(std::string_view value) {
  constexpr const char* kInvalid = "Invalid save parameters";
  const std::vector<std::string_view> words = SplitWords(value);
  if (words.size() % 2 != 0) return kInvalid;
  for (size_t i = 0; i < words.size(); ++i) {
    int64_t number = 0;
    if (!ParseInteger(words[i], &number) || number < (i % 2 == 0 ? 1 : 0)) return kInvalid;
  }
  return "";
}

// A letter for each class of events; CONFIG GET shows them in one order, 'A' for all kinds.
std::string NormalizeEvents(std::string& value) {
  constexpr std::string_view kKinds = "g$lshzxetd";
  constexpr std::string_view kOthers = "KEm";
  std::string letters = value;
  if (letters.find('A') != std::string::npos) letters.append(kKinds);
  for (char c : value) {
    if (c != 'A' && c != 'n' && kKinds.find(c) == kKinds.npos && kOthers.find(c) == kOthers.npos) {
      return "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
    }
  }
  value.clear();
  for (char c : kKinds) {
    if (letters.find(c) != std::string::npos) value.push_back(c);
  }
  if (value == kKinds) {
    value = "A";
  } else if (letters.find('n') != std::string::npos) {
    value.push_back('n');
  }
  for (char c : kOthers) {
    if (letters.find(c) != std::string::npos) value.push_back(c);
  }
  return "";
}

}  // namespace

std::string NormalizeParameter(std::string_view name, std::string_view current,
                               std::string& value) {
  if (std::find(std::begin(kFixed), std::end(kFixed), name) != std::end(kFixed)) {
    return "can't set immutable config";
  }
  if (const auto* memory = Find(name, kMemory); memory != nullptr) {
    return NormalizeMemory(*memory, value);
  }
  if (const auto* number = Find(name, kNumbers); number != nullptr) {
    return NormalizeNumber(*number, value);
  }
  if (const auto* choice = Find(name, kChoices); choice != nullptr) {
    return NormalizeChoice(*choice, value);
  }
  if (name == "client-output-buffer-limit") return NormalizeOutputLimits(current, value);
  if (name == "maxmemory-clients") return NormalizeClientMemory(value);
  if (name == "save") return CheckSavePoints(value);
  if (name == "notify-keyspace-events") return NormalizeEvents(value);
  // Only these are never anything else; a text such as a password may look like a number.
  const bool is_text = name == "requirepass" || name == "dir" || name == "dbfilename";
  if (!is_text && (current == "yes" || current == "no")) {
    value = Lower(value);
    if (value == "yes" || value == "no") return "";
    return "argument must be 'yes' or 'no'";
  }
  return "";
}

}  // namespace liveexec::demo
