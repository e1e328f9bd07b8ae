// Supervision: what a supervisor such as systemd is told of this program, and what it keeps for the
// next start: the journal, so that a program which ends soon after its upgrade is not forgotten.
//
// Everything here does nothing without a NOTIFY_SOCKET, and is best effort: a supervisor that does
// not listen is no reason to fail an upgrade. A call waits a second at most, for one whose queue is
// full.
#ifndef LIVEEXEC_HANDOFF_SUPERVISION_H_
#define LIVEEXEC_HANDOFF_SUPERVISION_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "handoff/attempt.h"
#include "handoff/flight_recorder.h"
#include "handoff/journal.h"
#include "handoff/program.h"

namespace liveexec {

class Supervision {
 public:
  // `program` is borrowed, and its options are known by the first call.
  explicit Supervision(Program& program) : program_(program) {}

  // A fresh start: takes over the journal that the program before left with the supervisor, and
  // judges how that one ended. Main thread, before there are others.
  void TakeOverJournal();

  // READY=1. After a successful fresh start. Main thread.
  void Started();
  // RELOADING=1. The upgrade's preparing thread.
  void Upgrading(const JournalEntry& entry);
  // Ahead of the blackout: from here on, until Upgraded, the end of the process can be told from
  // the attempt's flight recorder. The upgrade's preparing thread.
  void Undecided(const Attempt& attempt);
  // READY=1, with what became of the upgrade; keeps the journal. In the program that serves on.
  // Conductor's thread.
  void Upgraded(const JournalEntry& entry);
  // The program ends of its own accord: nothing is kept. Main thread, no other is left.
  void Stopped();

 private:
  void SayReady(const std::string& status);
  bool Keeps() const;
  void Keep(const JournalEntry* undecided);

  Program& program_;
};

// Marks the entry of the upgrade that the program came from as failed (E_DIED) if the program ended
// within `probation` of it. Not after a rollback: then it is the old program that ended.
void ChargeEarlyEnd(Journal& journal, int64_t serving_since_unix_ns, int64_t ended_unix_ns,
                    absl::Duration probation);

// Adds the entry of an upgrade during which the process ended, as its flight recorder tells.
void ChargeUndecided(Journal& journal, JournalEntry entry, const FlightReport& report,
                     bool committed);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_SUPERVISION_H_
