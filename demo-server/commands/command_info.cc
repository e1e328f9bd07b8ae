// COMMAND: what the server can do, for client libraries and redis-cli.
#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"
#include "demo-server/engine/command_keys.h"
#include "demo-server/protocol/glob.h"

namespace liveexec::demo {
namespace {

struct FlagName {
  uint32_t flag;
  std::string_view name;
};
constexpr FlagName kFlagNames[] = {
    {kWrite, "write"},       {kReadOnly, "readonly"}, {kDenyOom, "denyoom"},
    {kAdmin, "admin"},       {kPubSub, "pubsub"},     {kNoMulti, "no_multi"},
    {kBlocking, "blocking"}, {kFast, "fast"},         {kMovableKeys, "movablekeys"},
};

std::string_view GroupName(Group group) {
  switch (group) {
    case Group::kGeneric:
      return "generic";
    case Group::kString:
      return "string";
    case Group::kList:
      return "list";
    case Group::kSet:
      return "set";
    case Group::kSortedSet:
      return "sorted-set";
    case Group::kHash:
      return "hash";
    case Group::kBitmap:
      return "bitmap";
    case Group::kPubSub:
      return "pubsub";
    case Group::kTransactions:
      return "transactions";
    case Group::kConnection:
      return "connection";
    case Group::kServer:
      return "server";
  }
  return "generic";
}

std::vector<std::string> Categories(const Command& command) {
  std::vector<std::string> names;
  if ((command.flags & kWrite) != 0) names.emplace_back("@write");
  if ((command.flags & kReadOnly) != 0) names.emplace_back("@read");
  std::string group(GroupName(command.group));
  if (group == "sorted-set") group = "sortedset";
  if (group == "transactions") group = "transaction";
  if (group == "generic") group = "keyspace";
  names.push_back("@" + group);
  names.emplace_back((command.flags & kFast) != 0 ? "@fast" : "@slow");
  if ((command.flags & kBlocking) != 0) names.emplace_back("@blocking");
  if ((command.flags & kAdmin) != 0) names.emplace_back("@admin");
  return names;
}

void Describe(Call& call, const Command& command) {
  Reply& reply = call.reply();
  reply.Array(10);
  reply.Bulk(command.name);
  reply.Integer(command.arity);
  size_t flags = 0;
  for (const FlagName& known : kFlagNames) flags += (command.flags & known.flag) != 0 ? 1 : 0;
  reply.Set(flags);
  for (const FlagName& known : kFlagNames) {
    if ((command.flags & known.flag) != 0) reply.Simple(known.name);
  }
  reply.Integer(command.first_key);
  reply.Integer(command.last_key);
  reply.Integer(command.key_step);
  const std::vector<std::string> categories = Categories(command);
  reply.Set(categories.size());
  for (const std::string& category : categories) reply.Simple(category);
  reply.Array(0);  // tips
  reply.Array(0);  // key specifications
  const auto subcommands = call.engine().table().Subcommands(command);
  reply.Array(subcommands.size());
  for (const Command* subcommand : subcommands) Describe(call, *subcommand);
}

void All(Call& call) {
  const auto& commands = call.engine().table().commands();
  call.reply().Array(commands.size());
  for (const Command* command : commands) Describe(call, *command);
}

const Command* FindByFullName(Call& call, std::string_view name) {
  const CommandTable& table = call.engine().table();
  const size_t bar = name.find('|');
  const Command* command = table.Find(name.substr(0, bar));
  if (command == nullptr || bar == std::string_view::npos) return command;
  return table.FindSubcommand(*command, name.substr(bar + 1));
}

void Info(Call& call) {
  if (call.size() == 2) return All(call);
  call.reply().Array(call.size() - 2);
  for (size_t i = 2; i < call.size(); ++i) {
    const Command* command = FindByFullName(call, call[i]);
    if (command == nullptr) {
      call.reply().Null();
    } else {
      Describe(call, *command);
    }
  }
}

void Count(Call& call) {
  call.reply().Integer(static_cast<int64_t>(call.engine().table().commands().size()));
}

void Document(Call& call, const Command& command) {
  const auto subcommands = call.engine().table().Subcommands(command);
  Reply& reply = call.reply();
  reply.Bulk(command.name);
  reply.Map(subcommands.empty() ? 3 : 4);
  reply.Bulk("summary");
  reply.Bulk(command.summary);
  reply.Bulk("since");
  reply.Bulk("1.0.0");
  reply.Bulk("group");
  reply.Bulk(GroupName(command.group));
  if (subcommands.empty()) return;
  reply.Bulk("subcommands");
  reply.Map(subcommands.size());
  for (const Command* subcommand : subcommands) Document(call, *subcommand);
}

void Docs(Call& call) {
  std::vector<const Command*> commands;
  if (call.size() == 2) {
    commands = call.engine().table().commands();
  } else {
    for (size_t i = 2; i < call.size(); ++i) {
      if (const Command* command = FindByFullName(call, call[i]); command != nullptr) {
        commands.push_back(command);
      }
    }
  }
  call.reply().Map(commands.size());
  for (const Command* command : commands) Document(call, *command);
}

void List(Call& call) {
  std::vector<const Command*> commands;
  const bool filtered = call.size() == 5 && call.Is(2, "filterby");
  const bool by_pattern = filtered && call.Is(3, "pattern");
  const bool by_category = filtered && call.Is(3, "aclcat");
  const bool by_module = filtered && call.Is(3, "module");
  if (call.size() != 2 && !by_pattern && !by_category && !by_module) return call.SyntaxError();
  const std::string category = by_category ? "@" + std::string(call[4]) : "";
  for (const Command* command : call.engine().table().commands()) {
    if (by_module) continue;  // there are none
    if (by_pattern && !GlobMatch(call[4], command->name, /*ignore_case=*/true)) continue;
    if (by_category) {
      const std::vector<std::string> categories = Categories(*command);
      if (std::find(categories.begin(), categories.end(), category) == categories.end()) continue;
    }
    commands.push_back(command);
  }
  call.reply().Array(commands.size());
  for (const Command* command : commands) call.reply().Bulk(command->name);
}

// The keys of the command that the arguments are, or an error reply.
bool ReadKeys(Call& call, std::vector<std::string_view>* keys, const Command** found) {
  const auto arguments = call.arguments().subspan(2);
  const Command* command = call.engine().table().Find(arguments[0]);
  if (command != nullptr && (command->flags & kContainer) != 0 && arguments.size() > 1) {
    command = call.engine().table().FindSubcommand(*command, arguments[1]);
  }
  if (command == nullptr) {
    call.reply().Error("ERR Invalid command specified");
    return false;
  }
  // Shard channels are found as keys are, and are none.
  const bool none = command->first_key == 0 && (command->flags & kMovableKeys) == 0;
  if (none || command->group == Group::kPubSub) {
    call.reply().Error("ERR The command has no key arguments");
    return false;
  }
  const int size = static_cast<int>(arguments.size());
  if (command->arity > 0 ? size != command->arity : size < -command->arity) {
    call.reply().Error("ERR Invalid number of arguments specified for command");
    return false;
  }
  *keys = KeysOf(*command, arguments);
  *found = command;
  if (!keys->empty()) return true;
  call.reply().Error("ERR Invalid arguments specified for command");
  return false;
}

void GetKeys(Call& call) {
  std::vector<std::string_view> keys;
  const Command* command = nullptr;
  if (!ReadKeys(call, &keys, &command)) return;
  call.reply().Array(keys.size());
  for (std::string_view key : keys) call.reply().Bulk(key);
}

void Help(Call& call) {
  constexpr std::string_view kLines[] = {
      "COMMAND [INFO [name ...]]: arity, flags and keys of commands.",
      "COMMAND COUNT|LIST|DOCS|GETKEYS: their number, names, descriptions; a command's keys.",
  };
  call.reply().Array(std::size(kLines));
  for (std::string_view line : kLines) call.reply().Simple(line);
}

constexpr Command kCommands[] = {
    {"command", -1, kContainer, 0, 0, 0, Group::kServer, All, "All commands"},
    {"command|info", -2, 0, 0, 0, 0, Group::kServer, Info, "Facts about commands"},
    {"command|count", 2, 0, 0, 0, 0, Group::kServer, Count, "Number of commands"},
    {"command|docs", -2, 0, 0, 0, 0, Group::kServer, Docs, "Descriptions of commands"},
    {"command|list", -2, 0, 0, 0, 0, Group::kServer, List, "Names of commands"},
    {"command|getkeys", -4, 0, 0, 0, 0, Group::kServer, GetKeys, "Keys of a command"},
    {"command|help", 2, 0, 0, 0, 0, Group::kServer, Help, "Help"},
};

}  // namespace

absl::Span<const Command> CommandCommands() { return kCommands; }

}  // namespace liveexec::demo
