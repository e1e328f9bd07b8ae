// CommandTable: finds a command by its name, whatever its case, in some ten nanoseconds.
//
// Built once, then constant: any thread may look up.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_COMMAND_TABLE_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_COMMAND_TABLE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "demo-server/engine/command.h"

namespace liveexec::demo {

class CommandTable {
 public:
  // `families` are borrowed for ever: static arrays.
  explicit CommandTable(const std::vector<absl::Span<const Command>>& families);

  // Null when there is none.
  const Command* Find(std::string_view name) const;
  // By its full name, "client|list" for a subcommand.
  const Command* FindFull(std::string_view name) const;
  const Command* FindSubcommand(const Command& container, std::string_view name) const;

  // Commands that are not subcommands, by name.
  const std::vector<const Command*>& commands() const { return commands_; }
  std::vector<const Command*> Subcommands(const Command& container) const;
  // A number for each command, subcommands included, below size(): for counters beside the table.
  size_t IndexOf(const Command& command) const;
  size_t size() const { return all_.size(); }
  const std::vector<const Command*>& all() const { return all_; }

 private:
  static constexpr size_t kSlots = 1024;
  static constexpr size_t kMaxName = 32;

  static uint64_t HashName(const char* folded, size_t size);

  struct Slot {
    const Command* command = nullptr;
    uint32_t index = 0;
  };
  const Slot* FindSlot(std::string_view name) const;

  Slot slots_[kSlots];
  std::vector<const Command*> commands_;
  std::vector<const Command*> all_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_COMMAND_TABLE_H_
