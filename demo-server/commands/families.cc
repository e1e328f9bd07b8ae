#include "demo-server/commands/families.h"

namespace liveexec::demo {

std::vector<absl::Span<const Command>> AllCommands() {
  return {StringCommands(),
          CounterCommands(),
          BitCommands(),
          KeyCommands(),
          ExpiryCommands(),
          ScanCommands(),
          SortCommands(),
          ListCommands(),
          ListEditCommands(),
          BlockingCommands(),
          HashCommands(),
          SetCommands(),
          SetAlgebraCommands(),
          SortedSetCommands(),
          SortedSetRangeCommands(),
          SortedSetAlgebraCommands(),
          PubSubCommands(),
          TransactionCommands(),
          ConnectionCommands(),
          ClientCommands(),
          ServerCommands(),
          ConfigCommands(),
          CommandCommands(),
          InfoCommands(),
          DebugCommands(),
          LcsCommands(),
          TrackingCommands()};
}

}  // namespace liveexec::demo
