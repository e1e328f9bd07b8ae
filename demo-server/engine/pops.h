// Pops: the operations that a client can block on, at the moment when they need not wait.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_POPS_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_POPS_H_

#include <string>
#include <string_view>

#include "demo-server/engine/engine.h"

namespace liveexec::demo {

enum class PopResult {
  kDone,      // replied, with elements or with an error about the destination
  kNothing,   // there is no such key
  kMismatch,  // the key holds another type; nothing has been replied
};

// Takes what `operation` wants from `key` and replies as its command does.
PopResult Pop(Engine& engine, int database, std::string_view key, const Blocked& operation,
              Reply& reply);

// Takes one end's element; the list must not be empty.
Bytes PopElement(List& list, bool front);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_POPS_H_
