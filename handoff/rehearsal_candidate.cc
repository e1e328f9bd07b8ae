#include "handoff/rehearsal_candidate.h"

#include <stdio.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/receiver.h"
#include "handoff/stand_ins.h"

namespace liveexec {
namespace {

// `recorder` is set as soon as there is one.
absl::Status Play(Program& program, const Inheritance& inheritance,
                  std::optional<Verified>& verified, FlightRecorder& early) {
  Receiver receiver(program.syscalls, inheritance);
  LIVEEXEC_ASSIGN_OR_RETURN(early, receiver.AdoptRecorder());
  early.NotePhase(Phase::kReceiving);
  LIVEEXEC_ASSIGN_OR_RETURN(Received received, receiver.Receive());
  early.NotePhase(Phase::kVerifying);
  LIVEEXEC_ASSIGN_OR_RETURN(verified, receiver.Verify(std::move(received), program.note));
  early.NotePhase(Phase::kRehydrating);
  StandInFds stand_ins(std::move(verified->manifest.fds), std::move(verified->fds));
  LIVEEXEC_RETURN_IF_ERROR(RehydrateAll(program.components, *verified, stand_ins, true));
  early.NotePhase(Phase::kSelfChecking);
  return SelfCheckAll(program.components, verified->recorder);
}

}  // namespace

void EndRehearsal(Program& program, const Inheritance& inheritance) {
  std::optional<Verified> verified;
  FlightRecorder recorder;
  absl::Status status = Play(program, inheritance, verified, recorder);
  if (status.ok()) {
    recorder.record()->rehearsal_accepted = 1;
    _exit(kRehearsalAccepted);
  }
  if (recorder.record() != nullptr) {
    recorder.NoteFailure(FailureKind::kStatus, CodeOf(status), std::string(status.message()));
  }
  fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  fflush(stderr);
  _exit(kRehearsalRefused);
}

}  // namespace liveexec
