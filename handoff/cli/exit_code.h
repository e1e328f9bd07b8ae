// The exit codes of `liveexec`: what a script can rely on. Printed by --help.
#ifndef LIVEEXEC_HANDOFF_CLI_EXIT_CODE_H_
#define LIVEEXEC_HANDOFF_CLI_EXIT_CODE_H_

#include "handoff/journal.h"

namespace liveexec::cli {

enum ExitCode : int {
  kExitOk = 0,            // done; upgrade: committed; inspect: would be accepted
  kExitUsage = 1,         // the command line is wrong
  kExitRefused = 2,       // could not ask, or was refused (E_...); inspect: would be refused
  kExitAbandoned = 10,    // upgrade: abandoned, the old program serves on
  kExitRolledBack = 11,   // upgrade: rolled back to the old program in the same process
  kExitResurrected = 12,  // upgrade: the process died, the old program serves in a new one
};

inline constexpr char kExitCodesHelp[] =
    "Exit codes:\n"
    "   0  done; upgrade: the new program serves; inspect: it would be accepted\n"
    "   1  wrong usage\n"
    "   2  could not ask, or was refused, with a code E_...; inspect: it would be refused\n"
    "  10  upgrade abandoned: the old program serves on, nothing happened to its clients\n"
    "  11  upgrade rolled back: the same process runs the old program again\n"
    "  12  upgrade failed and the process died: the old program runs again under a new PID\n";

inline ExitCode ExitCodeOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kCommitted:
      return kExitOk;
    case Outcome::kAbandoned:
      return kExitAbandoned;
    case Outcome::kRolledBack:
      return kExitRolledBack;
    case Outcome::kResurrected:
      return kExitResurrected;
  }
  return kExitRefused;
}

}  // namespace liveexec::cli

#endif  // LIVEEXEC_HANDOFF_CLI_EXIT_CODE_H_
