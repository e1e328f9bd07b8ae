// The commands, family by family. Each function returns a static array.
#ifndef LIVEEXEC_DEMO_SERVER_COMMANDS_FAMILIES_H_
#define LIVEEXEC_DEMO_SERVER_COMMANDS_FAMILIES_H_

#include <vector>

#include "absl/types/span.h"
#include "demo-server/engine/command.h"

namespace liveexec::demo {

absl::Span<const Command> StringCommands();
absl::Span<const Command> CounterCommands();
absl::Span<const Command> BitCommands();
absl::Span<const Command> KeyCommands();
absl::Span<const Command> ExpiryCommands();
absl::Span<const Command> ScanCommands();
absl::Span<const Command> SortCommands();
absl::Span<const Command> ListCommands();
absl::Span<const Command> ListEditCommands();
absl::Span<const Command> BlockingCommands();
absl::Span<const Command> HashCommands();
absl::Span<const Command> SetCommands();
absl::Span<const Command> SetAlgebraCommands();
absl::Span<const Command> SortedSetCommands();
absl::Span<const Command> SortedSetRangeCommands();
absl::Span<const Command> SortedSetAlgebraCommands();
absl::Span<const Command> PubSubCommands();
absl::Span<const Command> TransactionCommands();
absl::Span<const Command> ConnectionCommands();
absl::Span<const Command> ClientCommands();
absl::Span<const Command> ServerCommands();
absl::Span<const Command> ConfigCommands();
absl::Span<const Command> CommandCommands();
absl::Span<const Command> InfoCommands();
absl::Span<const Command> DebugCommands();
absl::Span<const Command> LcsCommands();
absl::Span<const Command> TrackingCommands();

// All of them: for EngineOptions::commands.
std::vector<absl::Span<const Command>> AllCommands();

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_COMMANDS_FAMILIES_H_
