#include "demo-server/engine/call.h"

#include <algorithm>
#include <limits>
#include <new>
#include <string>

#include "absl/strings/ascii.h"

namespace liveexec::demo {

bool IsWord(std::string_view argument, std::string_view lower) {
  if (argument.size() != lower.size()) return false;
  for (size_t i = 0; i < lower.size(); ++i) {
    const char c = argument[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c) != lower[i]) return false;
  }
  return true;
}

bool Call::Integer(size_t i, int64_t* value, std::string_view error) {
  if (ParseInteger(arguments_[i], value)) return true;
  reply_.Error(error);
  return false;
}

bool Call::Double(size_t i, double* value, std::string_view error) {
  if (ParseDouble(arguments_[i], value)) return true;
  reply_.Error(error);
  return false;
}

Entry* Call::Read(std::string_view key) {
  Entry* entry = Find(key);
  if (entry == nullptr) {
    ++engine_.statistics().misses;
    return nullptr;
  }
  ++engine_.statistics().hits;
  if (!session_.no_touch) {
    if (entry->accesses < std::numeric_limits<uint32_t>::max()) ++entry->accesses;
    entry->accessed_at = now();
  }
  return entry;
}

Entry* Call::Replace(std::string_view key, Value value) {
  Entry* entry = Find(key);
  if (entry == nullptr) return Insert(key, std::move(value));
  // Who waits for a list must learn that there is one, though the key existed.
  engine_.keyspace().database(database()).SetExpiry(entry, kNoExpiry);
  entry->value = std::move(value);
  entry->accessed_at = now();
  engine_.blocked().SignalReady(database(), key);
  return entry;
}

bool Call::Erase(std::string_view key) {
  try {
    Entry* entry = Find(key);
    if (entry == nullptr) return false;
    engine_.Erase(database(), entry);
  } catch (const std::bad_alloc&) {
    // It cannot be loaded, but it can go, which makes room.
    if (!engine_.keyspace().database(database()).ErasePending(key)) throw;
  }
  Modified(key);
  return true;
}

void Call::EraseIfEmpty(std::string_view key) {
  Entry* entry = Find(key);
  if (entry != nullptr && entry->value.Empty()) engine_.Erase(database(), entry);
}

void Call::ArityError() {
  std::string text = "ERR wrong number of arguments for '";
  text.append(command_.name).append("' command");
  reply_.Error(text);
}

void Call::SubcommandError() {
  const std::string_view name = arguments_[1];
  std::string text = "ERR unknown subcommand or wrong number of arguments for '";
  text.append(name.substr(0, std::min<size_t>(name.find('\0'), 128))).append("'. Try ");
  const std::string_view container = command_.name.substr(0, command_.name.find('|'));
  text.append(absl::AsciiStrToUpper(std::string(container))).append(" HELP.");
  reply_.Error(text);
}

}  // namespace liveexec::demo
