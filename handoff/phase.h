// The phases of an upgrade, and which may follow which. DESIGN.md, section 2.
#ifndef LIVEEXEC_HANDOFF_PHASE_H_
#define LIVEEXEC_HANDOFF_PHASE_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/clock.h"
#include "handoff/journal.h"

namespace liveexec {

enum class Phase : uint8_t {
  kIdle = 0,  // serving, no upgrade under way
  // In the old program.
  kChecking,
  kRehearsing,
  kGuarding,
  kQuiescing,  // the blackout begins
  kExporting,
  kSealing,
  kSending,
  kExecuting,
  // In the new program; after a rollback, in the old one again.
  kReceiving,
  kVerifying,
  kRehydrating,
  kSelfChecking,
  kCommitted,
  // The ways back.
  kResuming,     // abandoned: the old program undoes what it did
  kRollingBack,  // after exec: the old program is exec'd again
};
inline constexpr int kPhaseCount = 16;

std::string_view PhaseName(Phase phase);  // "checking", ...
std::optional<Phase> PhaseFromName(std::string_view name);

// The one table of allowed transitions.
bool MayFollow(Phase from, Phase to);

// What an upgrade that fails in `phase` ends as, if the process lives. Nothing for kIdle and
// kCommitted.
std::optional<Outcome> OutcomeOfFailureIn(Phase phase);

// Walks through the phases of one upgrade and writes their times down. A transition that the table
// forbids is a bug of ours, not of anybody's input: it aborts, which before commit is a rollback.
class PhaseMachine {
 public:
  // `timed`: the phase `start` is the last in the entry, and still under way.
  explicit PhaseMachine(Phase start = Phase::kIdle, bool timed = false)
      : phase_(start), timed_(timed) {}

  Phase phase() const { return phase_; }
  // Ends the phase that is under way and enters `next`. `entry` gets the times of every phase but
  // kIdle. The second form is for a phase that began before anybody could write it down.
  void Enter(Phase next, JournalEntry& entry) { Enter(next, entry, MonotonicNs()); }
  void Enter(Phase next, JournalEntry& entry, int64_t start_ns);
  // Ends the phase that is under way without entering one.
  void Stop(JournalEntry& entry) { Stop(entry, MonotonicNs()); }

 private:
  void Stop(JournalEntry& entry, int64_t now_ns);

  Phase phase_;
  bool timed_ = false;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_PHASE_H_
