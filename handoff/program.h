// Program: what the parts of the framework share about the running program. One per Upgrader.
#ifndef LIVEEXEC_HANDOFF_PROGRAM_H_
#define LIVEEXEC_HANDOFF_PROGRAM_H_

#include <sys/types.h>

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/pinned_image.h"
#include "core/process_traits.h"
#include "core/syscalls.h"
#include "handoff/component.h"
#include "handoff/executor.h"
#include "handoff/fd_table.h"
#include "handoff/flight_recorder.h"
#include "handoff/journal.h"
#include "handoff/parking.h"
#include "handoff/program_note.h"
#include "handoff/upgrader.h"

namespace liveexec {

struct Program {
  Program(Syscalls& kernel, Executor& main_executor) : syscalls(kernel), main(main_executor) {}

  // Constant once Start has returned.
  Syscalls& syscalls;
  Executor& main;
  UpgraderOptions options;
  ProgramNote note;
  ProcessTraits traits;  // as at boot, of the first program in the row
  std::optional<PinnedImage> own_image;
  // The path that this program was started from, or upgraded to, symbolic links unresolved.
  std::string default_binary;
  std::optional<PinnedImage> previous_image;  // of the program that handed over to this one
  std::vector<Component*> components;         // in the order of registration
  uint64_t generation = 0;
  int64_t started_unix_ns = 0;          // this program
  int64_t process_started_unix_ns = 0;  // the first program in the row

  // Why the new program failed, when this is the old one. Set by the arrival.
  std::optional<FlightReport> failure;

  Parking parking;

  // The upgrader is being destroyed, on the main thread: nobody may wait for that any more.
  std::atomic<bool> ending{false};

  // Of the conductor: fds that the framework makes anew in each program.
  std::vector<int> own_fds;

  // Of the upgrade that this program came from. The conductor and the preparing thread look at it.
  std::atomic<pid_t> custodian_to_reap{0};

  // Guarded by `mutex`: the conductor answers from them, the main thread writes them.
  mutable std::mutex mutex;
  Journal journal;
  uint64_t attempts = 0;

  // Where an upgrade without a path of its own goes.
  const std::string& DefaultBinary() const {
    return options.upgrade_binary.empty() ? default_binary : options.upgrade_binary;
  }
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_PROGRAM_H_
