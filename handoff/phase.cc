#include "handoff/phase.h"

#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace liveexec {
namespace {

struct Row {
  Phase phase;
  std::string_view name;
  std::optional<Outcome> on_failure;
};

constexpr Row kRows[] = {
    {Phase::kIdle, "idle", std::nullopt},
    {Phase::kChecking, "checking", Outcome::kAbandoned},
    {Phase::kRehearsing, "rehearsing", Outcome::kAbandoned},
    {Phase::kGuarding, "guarding", Outcome::kAbandoned},
    {Phase::kQuiescing, "quiescing", Outcome::kAbandoned},
    {Phase::kExporting, "exporting", Outcome::kAbandoned},
    {Phase::kSealing, "sealing", Outcome::kAbandoned},
    {Phase::kSending, "sending", Outcome::kAbandoned},
    {Phase::kExecuting, "executing", Outcome::kAbandoned},
    {Phase::kReceiving, "receiving", Outcome::kRolledBack},
    {Phase::kVerifying, "verifying", Outcome::kRolledBack},
    {Phase::kRehydrating, "rehydrating", Outcome::kRolledBack},
    {Phase::kSelfChecking, "self-checking", Outcome::kRolledBack},
    {Phase::kCommitted, "committed", std::nullopt},
    {Phase::kResuming, "resuming", Outcome::kAbandoned},
    {Phase::kRollingBack, "rolling back", Outcome::kRolledBack},
};
static_assert(std::size(kRows) == kPhaseCount);

const Row& RowOf(Phase phase) { return kRows[static_cast<size_t>(phase)]; }

bool IsBetween(Phase phase, Phase first, Phase last) { return first <= phase && phase <= last; }

}  // namespace

std::string_view PhaseName(Phase phase) { return RowOf(phase).name; }

std::optional<Phase> PhaseFromName(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.phase;
  }
  return std::nullopt;
}

std::optional<Outcome> OutcomeOfFailureIn(Phase phase) { return RowOf(phase).on_failure; }

bool MayFollow(Phase from, Phase to) {
  // Forward, one step at a time, from checking to committed.
  if (IsBetween(from, Phase::kIdle, Phase::kSelfChecking) &&
      static_cast<int>(to) == static_cast<int>(from) + 1) {
    return true;
  }
  switch (to) {
    case Phase::kIdle:
      return from == Phase::kCommitted || from == Phase::kResuming;
    case Phase::kResuming:
      return IsBetween(from, Phase::kChecking, Phase::kExecuting);
    case Phase::kRollingBack:
      return IsBetween(from, Phase::kReceiving, Phase::kSelfChecking);
    case Phase::kReceiving:  // The old program, started again.
      return from == Phase::kRollingBack;
    default:
      return false;
  }
}

void PhaseMachine::Enter(Phase next, JournalEntry& entry, int64_t start_ns) {
  if (!MayFollow(phase_, next)) {
    fprintf(stderr, "liveexec: bug: phase %s may not follow %s\n", PhaseName(next).data(),
            PhaseName(phase_).data());
    abort();
  }
  Stop(entry, start_ns);
  phase_ = next;
  if (next == Phase::kIdle) return;
  entry.phases.push_back({std::string(PhaseName(next)), start_ns, 0});
  timed_ = true;
}

void PhaseMachine::Stop(JournalEntry& entry, int64_t now_ns) {
  if (!timed_ || entry.phases.empty()) return;
  PhaseTime& last = entry.phases.back();
  last.duration_ns = now_ns - last.start_ns;
  timed_ = false;
}

}  // namespace liveexec
