// FaultPlan: what goes wrong on purpose, in which phase of an upgrade, and how often.
//
//   FaultPlan::Parse("twice, resets@before, bad-binary:3")
//
// is a list of FAULT[@MOMENT][:EVERY]. MOMENT is before, during (the default: at a random time of
// the first 20 ms), after, +MS (so many milliseconds after the upgrade was asked for), or, where
// the server tells, a phase of liveexec's: executing, rehydrating... The last is aimed at the
// middle of the phase as the upgrade before had it, the first time as during; what it hit is in the
// report. EVERY 3 strikes at each third upgrade (default: each).
//
//   bad-binary   an upgrade to a program that is none of the server's is asked for first, and must
//                be refused
//   cut-binary   the same with the first half of the real program
//   twice        the upgrade is asked for a second time while the first is under way
//   resets       clients with half a request reset their connections
//   flood        two hundred connections come at once
//   stop         the process is stopped for 20 ms (SIGSTOP, SIGCONT)
#ifndef LIVEEXEC_TESTS_HARNESS_FAULT_PLAN_H_
#define LIVEEXEC_TESTS_HARNESS_FAULT_PLAN_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace liveexec::harness {

enum class FaultKind : uint8_t { kBadBinary, kCutBinary, kTwice, kResets, kFlood, kStop };
enum class FaultMoment : uint8_t { kBefore, kDuring, kAfter };

std::string_view FaultName(FaultKind kind);

struct Fault {
  FaultKind kind = FaultKind::kTwice;
  FaultMoment moment = FaultMoment::kDuring;
  int every = 1;
  int delay_ms = -1;  // of those during: after it was asked for; -1: at random
  std::string phase;  // of those during; empty: none in particular
};

class FaultPlan {
 public:
  // InvalidArgument names what is not understood. An empty text, or "none", is a plan without
  // faults.
  static absl::StatusOr<FaultPlan> Parse(std::string_view text);

  // What strikes at upgrade `number` (from 1) at `moment`.
  std::vector<Fault> At(int number, FaultMoment moment) const;
  bool Has(FaultKind kind) const;
  // Whether one is aimed at a phase.
  bool NeedsPhases() const;
  bool empty() const { return faults_.empty(); }

 private:
  std::vector<Fault> faults_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_FAULT_PLAN_H_
