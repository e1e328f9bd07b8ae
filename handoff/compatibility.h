// Would this candidate accept what that running program hands over? Decided from their notes alone.
//
// The rules: the same application and framework ABI; a security epoch that is not lower; and for
// each component of the running program, one in the candidate that reads its schema (reads_oldest
// <= running.writes <= candidate.writes), or LIVEEXEC_DROPS_COMPONENT. Components that are new in
// the candidate start fresh. Resident memory whose layout the candidate does not read is no reason
// to refuse: what is in it is exported then. Schema numbers count incompatible changes only: fields
// added to a Cap'n Proto struct do not change them.
#ifndef LIVEEXEC_HANDOFF_COMPATIBILITY_H_
#define LIVEEXEC_HANDOFF_COMPATIBILITY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "handoff/program_note.h"

namespace liveexec {

struct Refusal {
  std::string code;      // E_APP, E_ABI, E_DOWNGRADE, E_SCHEMA
  std::string sentence;  // what is wrong and what to do
};

struct Compatibility {
  // None: the candidate would be accepted. The weightiest comes first.
  std::vector<Refusal> refusals;
  // Worth knowing, no reason to refuse: "component x starts fresh: ..."
  std::vector<std::string> notes;

  bool accepted() const { return refusals.empty(); }
  // Ok, or FailedPrecondition with the first refusal's code and all the sentences.
  absl::Status ToStatus() const;
};

enum class Downgrades { kRefuse, kAllow };  // of the security epoch

Compatibility Compare(const ProgramNote& running, const ProgramNote& candidate,
                      Downgrades downgrades = Downgrades::kRefuse);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_COMPATIBILITY_H_
