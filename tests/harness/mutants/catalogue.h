// The mutants: servers with one known fault each, and the verdict that the harness must give them.
#ifndef LIVEEXEC_TESTS_HARNESS_MUTANTS_CATALOGUE_H_
#define LIVEEXEC_TESTS_HARNESS_MUTANTS_CATALOGUE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/harness/torture/result.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {

struct Mutant {
  std::string server;  // "echo" or "demo"
  std::string fault;   // "none" for the good one
  Verdict expected = Verdict::kInvisible;

  std::string name() const { return server + "/" + fault; }
};

// All of them, the two good ones first.
const std::vector<Mutant>& Mutants();

// Where the programs are, as a directory that has bazel-bin's layout.
struct Programs {
  std::string root;
  std::string Echo() const { return root + "/demo-server/mutants/echo_mutant"; }
  std::string Demo() const { return root + "/demo-server/mutants/demo_mutant"; }
  std::string Liveexec() const { return root + "/handoff/cli/liveexec"; }
  std::string Torture() const { return root + "/tests/harness/torture/liveexec-torture"; }
};

// A short run of one mutant.
absl::StatusOr<TortureResult> TryMutant(const Programs& programs, const Mutant& mutant,
                                        uint64_t seed);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_MUTANTS_CATALOGUE_H_
