#include "demo-server/engine/command_table.h"

#include <algorithm>
#include <cstring>

namespace liveexec::demo {

CommandTable::CommandTable(const std::vector<absl::Span<const Command>>& families) {
  for (const auto& family : families) {
    for (const Command& command : family) {
      size_t at = HashName(command.name.data(), command.name.size()) % kSlots;
      while (slots_[at].command != nullptr) at = (at + 1) % kSlots;
      slots_[at] = {&command, static_cast<uint32_t>(all_.size())};
      all_.push_back(&command);
      if (command.name.find('|') == std::string_view::npos) commands_.push_back(&command);
    }
  }
  std::sort(commands_.begin(), commands_.end(),
            [](const Command* a, const Command* b) { return a->name < b->name; });
}

uint64_t CommandTable::HashName(const char* folded, size_t size) {
  uint64_t hash = size;
  for (size_t i = 0; i < size; ++i) {
    hash = (hash ^ static_cast<unsigned char>(folded[i])) * 0x9E3779B97F4A7C15u;
  }
  return hash >> 40;
}

const CommandTable::Slot* CommandTable::FindSlot(std::string_view name) const {
  if (name.size() > kMaxName) return nullptr;
  char folded[kMaxName];
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    folded[i] = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  }
  size_t at = HashName(folded, name.size()) % kSlots;
  while (slots_[at].command != nullptr) {
    const std::string_view known = slots_[at].command->name;
    if (known.size() == name.size() && memcmp(known.data(), folded, known.size()) == 0) {
      return &slots_[at];
    }
    at = (at + 1) % kSlots;
  }
  return nullptr;
}

const Command* CommandTable::Find(std::string_view name) const {
  const Slot* slot = FindSlot(name);
  return slot == nullptr || name.find('|') != std::string_view::npos ? nullptr : slot->command;
}

const Command* CommandTable::FindFull(std::string_view name) const {
  const Slot* slot = FindSlot(name);
  return slot == nullptr ? nullptr : slot->command;
}

const Command* CommandTable::FindSubcommand(const Command& container, std::string_view name) const {
  if (name.find('|') != std::string_view::npos) return nullptr;
  std::string full(container.name);
  full.push_back('|');
  full.append(name);
  const Slot* slot = FindSlot(full);
  return slot == nullptr ? nullptr : slot->command;
}

std::vector<const Command*> CommandTable::Subcommands(const Command& container) const {
  const std::string prefix = std::string(container.name) + "|";
  std::vector<const Command*> found;
  for (const Command* command : all_) {
    if (command->name.substr(0, prefix.size()) == prefix) found.push_back(command);
  }
  return found;
}

size_t CommandTable::IndexOf(const Command& command) const { return FindSlot(command.name)->index; }

}  // namespace liveexec::demo
