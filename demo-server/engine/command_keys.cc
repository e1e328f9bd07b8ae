#include "demo-server/engine/command_keys.h"

#include <cstdint>

#include "demo-server/engine/call.h"
#include "demo-server/protocol/number.h"

namespace liveexec::demo {
namespace {

// Where the number of keys stands, which precedes them. 0: nowhere.
size_t CountPosition(std::string_view name) {
  for (std::string_view known :
       {"lmpop", "zmpop", "sintercard", "zintercard", "zunion", "zinter", "zdiff"}) {
    if (name == known) return 1;
  }
  for (std::string_view known : {"blmpop", "bzmpop", "zunionstore", "zinterstore", "zdiffstore"}) {
    if (name == known) return 2;
  }
  return 0;
}

void AddCounted(absl::Span<const std::string_view> arguments, size_t position,
                std::vector<std::string_view>* keys) {
  int64_t count = 0;
  if (position >= arguments.size() || !ParseInteger(arguments[position], &count) || count <= 0 ||
      static_cast<uint64_t>(count) > arguments.size() - position - 1) {
    return keys->clear();
  }
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    keys->push_back(arguments[position + 1 + i]);
  }
}

}  // namespace

std::vector<std::string_view> KeysOf(const Command& command,
                                     absl::Span<const std::string_view> arguments) {
  std::vector<std::string_view> keys;
  const int size = static_cast<int>(arguments.size());
  const int last = command.last_key < 0 ? size + command.last_key : command.last_key;
  if (command.first_key > 0) {
    for (int i = command.first_key; i <= last && i < size; i += command.key_step) {
      keys.push_back(arguments[static_cast<size_t>(i)]);
    }
  }
  if (const size_t position = CountPosition(command.name); position != 0) {
    AddCounted(arguments, position, &keys);
  }
  if (command.name == "sort") {
    // The last STORE counts.
    std::string_view store;
    bool stores = false;
    for (size_t i = 2; i + 1 < arguments.size(); ++i) {
      if (!IsWord(arguments[i], "store")) continue;
      stores = true;
      store = arguments[++i];
    }
    if (stores) keys.push_back(store);
  }
  return keys;
}

}  // namespace liveexec::demo
