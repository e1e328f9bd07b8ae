// Who this build of the victim is. BUILD defines VICTIM_ROLE and the like for each binary.
#include <cstdint>

#include "handoff/program_note.h"
#include "tests/faults/victim/misbehaviour.h"

LIVEEXEC_APPLICATION(VICTIM_APPLICATION, VICTIM_VERSION);
LIVEEXEC_COMPONENT("state", VICTIM_WRITES, VICTIM_READS);
LIVEEXEC_SECURITY_EPOCH(VICTIM_EPOCH);
LIVEEXEC_RESIDENT_LAYOUT("memory", VICTIM_LAYOUT);

namespace liveexec::faults {
const char* const kRole = VICTIM_ROLE;
const uint64_t kLayout = VICTIM_LAYOUT;
}  // namespace liveexec::faults
