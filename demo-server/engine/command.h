// Command: one entry of the command table.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_COMMAND_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_COMMAND_H_

#include <atomic>
#include <cstdint>
#include <string_view>

namespace liveexec::demo {

class Call;

enum CommandFlags : uint32_t {
  kWrite = 1 << 0,
  kReadOnly = 1 << 1,
  kFast = 1 << 2,
  kBlocking = 1 << 3,
  kAdmin = 1 << 4,
  kPubSub = 1 << 5,
  kNoMulti = 1 << 6,       // refused inside MULTI by itself
  kNotQueued = 1 << 7,     // runs at once inside MULTI
  kSubscriber = 1 << 8,    // allowed to a RESP2 client with subscriptions
  kContainer = 1 << 9,     // has subcommands: "client|list"
  kMovableKeys = 1 << 10,  // its keys are told by an argument
  kDenyOom = 1 << 11,
  kEveryone = 1 << 12,  // looks at other clients: all sessions must be known
  kNoAuth = 1 << 13,    // allowed to a client that has not given the password
  // A container that runs itself where no subcommand fits: MULTI queues what is wrong, as it does
  // with commands that look at their first argument when they run.
  kLenient = 1 << 14,
};

enum class Group : uint8_t {
  kGeneric,
  kString,
  kList,
  kSet,
  kSortedSet,
  kHash,
  kBitmap,
  kPubSub,
  kTransactions,
  kConnection,
  kServer,
};

struct Command {
  std::string_view name;  // lower case; "client|list" for a subcommand
  int arity;              // number of arguments with the name; -n: at least n
  uint32_t flags;
  int first_key;  // 0: none
  int last_key;   // -1: the last argument
  int key_step;
  Group group;
  void (*run)(Call& call);
  std::string_view summary;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_COMMAND_H_
