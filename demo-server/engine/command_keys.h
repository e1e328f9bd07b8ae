// Which arguments of a command are keys.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_COMMAND_KEYS_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_COMMAND_KEYS_H_

#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "demo-server/engine/command.h"

namespace liveexec::demo {

// In their order. Empty also when the arguments do not tell, being wrong.
std::vector<std::string_view> KeysOf(const Command& command,
                                     absl::Span<const std::string_view> arguments);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_COMMAND_KEYS_H_
