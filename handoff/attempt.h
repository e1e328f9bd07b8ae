// Attempt: one upgrade under way in the old program. It moves from thread to thread (conductor,
// preparing thread, main), always owned by exactly one of them.
#ifndef LIVEEXEC_HANDOFF_ATTEMPT_H_
#define LIVEEXEC_HANDOFF_ATTEMPT_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/fd_channel.h"
#include "handoff/custodian.h"
#include "handoff/flight_recorder.h"
#include "handoff/image_file.h"
#include "handoff/journal.h"
#include "handoff/manifest.h"
#include "handoff/open_fds.h"
#include "handoff/parking.h"
#include "handoff/phase.h"
#include "handoff/program.h"
#include "handoff/program_file.h"
#include "handoff/upgrader.h"

namespace liveexec {

// What the upgrade needs and what there is, as far as it is known yet: budgets.h.
struct Needs {
  size_t fds = 0;
  uint64_t fds_allowed = 0;
  uint64_t memory = 0;  // bytes; 0: nothing was rehearsed
  uint64_t memory_available = 0;
  size_t messages = 0;  // of the fd channel
  size_t messages_allowed = 0;
};

struct Attempt {
  UpgradeRequest request;
  Upgrader::Done done;
  uint64_t requester = 0;  // the control connection that waits; 0: none

  JournalEntry entry;
  PhaseMachine phases;
  // Cancelled by the conductor, when the deadline passes or somebody asks for it.
  std::shared_ptr<BlackoutTicket> ticket = std::make_shared<BlackoutTicket>();

  // Made by the phases, in their order.
  std::optional<PinnedProgram> candidate;  // Checking
  bool portable_only = false;              // Checking, Rehearsing: resident memory stays behind
  std::vector<OpenFd> open_fds;            // Checking, and again when precopying is over
  std::unique_ptr<FdInspector> inspector;  // Checking; has seen open_fds
  Needs needs;                             // Checking, Rehearsing, Guarding
  ImageStamp stamp;                        // Guarding
  FdChannelEnds channel;                   // Guarding
  FlightRecorder recorder;                 // Guarding
  bool precopy_begun = false;              // Guarding
  std::unique_ptr<Custodian> custodian;    // Guarding; ends when the attempt is dropped
  int64_t blackout_start_ns = 0;           // Quiescing
};

// What the manifest says of the program and of this attempt; components and fds are added when they
// are sealed.
Manifest DescribeForManifest(const Program& program, const Attempt& attempt);

// Who is to read what is exported.
Successor SuccessorOf(const Attempt& attempt);

// The environment at boot, as far as the new program may have it.
std::vector<std::string> EnvironmentForNextProgram(const Program& program);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_ATTEMPT_H_
