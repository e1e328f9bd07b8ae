// CheckLinearizable: can a history be explained by one order of its operations, in which each takes
// effect at one moment between its invocation and its completion?
//
//   LinearizabilityResult result = CheckLinearizable(CounterModel(), history.ByKey()["counter:1"]);
//   if (!result.linearizable) Print(result.explanation);
//
// The algorithm is Wing and Gong's search (Testing and Verifying Concurrent Objects, 1993) over a
// doubly linked list of invocations and completions, with Lowe's memory of configurations that were
// tried (Testing for Linearizability, 2017): the set of operations that have taken effect, and the
// state. It is what Porcupine does. A history is checked key by key, because linearizability is
// local (Herlihy and Wing, 1990): all keys are linearizable if each is.
//
// Unknown operations may take effect at any time after their invocation, or never. Failed ones are
// left out; unknown reads say nothing and are left out too.
//
// The memory holds a 128-bit hash of each set, not the set. So a check of a million operations
// needs some 50 MB; a false alarm by collision has a chance of less than 2^-80.
#ifndef LIVEEXEC_TESTS_HARNESS_LINEARIZABILITY_H_
#define LIVEEXEC_TESTS_HARNESS_LINEARIZABILITY_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "tests/harness/history.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {

// A sequential object whose state is one integer. Next gives the state after `operation`, or
// nothing when its result cannot be what was seen.
struct Model {
  int64_t initial = kAbsent;
  std::optional<int64_t> (*next)(int64_t state, const Operation& operation) = nullptr;
};
// Reads and writes.
Model RegisterModel();
// Adds (each returns the sum) and reads.
Model CounterModel();

struct LinearizabilityResult {
  bool linearizable = true;
  // The search was given up after `kMaxConfigurations`: nothing is known. Counts as linearizable.
  bool inconclusive = false;
  // When it is not: the operation that fits nowhere, what that means, and what was going on then.
  Verdict verdict = Verdict::kWriteLost;
  std::string explanation;
  int64_t at_ns = 0;
  std::vector<Operation> context;  // at most 12, in order of invocation; the culprit is the last
};

inline constexpr uint64_t kMaxConfigurations = 5'000'000;

// `operations` of one key. Bounded in time by kMaxConfigurations.
LinearizabilityResult CheckLinearizable(const Model& model, std::vector<Operation> operations);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_LINEARIZABILITY_H_
