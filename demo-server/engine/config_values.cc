#include "demo-server/engine/config_values.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "demo-server/engine/call.h"
#include "demo-server/protocol/number.h"

namespace liveexec::demo {
namespace {

constexpr std::string_view kMemory[] = {
    "auto-aof-rewrite-min-size", "client-query-buffer-limit", "maxmemory",
    "maxmemory-clients",         "proto-max-bulk-len",        "repl-backlog-size"};
// Given on the command line, or what this server cannot change.
constexpr std::string_view kFixed[] = {"bind", "cluster-enabled", "databases", "io-threads",
                                       "port", "unixsocket"};
constexpr std::string_view kPolicies[] = {"volatile-lru",   "volatile-lfu", "volatile-random",
                                          "volatile-ttl",   "allkeys-lru",  "allkeys-lfu",
                                          "allkeys-random", "noeviction"};

template <size_t N>
bool IsOneOf(std::string_view name, const std::string_view (&names)[N]) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return lower;
}

std::vector<std::string_view> SplitWords(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    if (text.empty()) return words;
    words.push_back(text.substr(0, text.find(' ')));
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
  if (!ParseInteger(text.substr(0, digits), &number)) return false;
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

std::string NormalizeParameter(std::string_view name, std::string_view current,
                               std::string& value) {
  if (IsOneOf(name, kFixed)) return "can't set immutable config";
  if (name == "client-output-buffer-limit") {
    OutputLimits limits;
    std::string error = ReadOutputLimits(current, &limits);
    if (error.empty()) error = ReadOutputLimits(value, &limits);
    if (error.empty()) value = FormatOutputLimits(limits);
    return error;
  }
  if (name == "maxmemory-policy") {
    value = Lower(value);
    if (IsOneOf(value, kPolicies)) return "";
    return "argument(s) must be one of the following: volatile-lru, volatile-lfu, "
           "volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction";
  }
  int64_t number = 0;
  if (IsOneOf(name, kMemory)) {
    if (!ParseMemory(value, &number)) return "argument must be a memory value";
    value = std::to_string(number);
    return "";
  }
  if (current == "yes" || current == "no") {
    value = Lower(value);
    if (value == "yes" || value == "no") return "";
    return "argument must be 'yes' or 'no'";
  }
  const bool is_number = ParseInteger(current, &number);
  if (is_number && !ParseInteger(value, &number)) {
    return "argument couldn't be parsed into an integer";
  }
  return "";
}

}  // namespace liveexec::demo
