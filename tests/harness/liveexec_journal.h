// ReadJournal: what a liveexec server says of its upgrades, through `liveexec history --json`.
#ifndef LIVEEXEC_TESTS_HARNESS_LIVEEXEC_JOURNAL_H_
#define LIVEEXEC_TESTS_HARNESS_LIVEEXEC_JOURNAL_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/harness/upgrade_timeline.h"

namespace liveexec::harness {

struct JournalledUpgrade {
  std::string outcome;  // "committed", "abandoned", ...
  pid_t pid = 0;        // of the process that ended up serving
  int64_t blackout_ns = 0;
  std::vector<PhaseSpan> phases;
};

// `liveexec` is the command, `control` the server's control socket. The oldest first, as many as
// the server remembers. DataLoss: the answer is not what it should be.
absl::StatusOr<std::vector<JournalledUpgrade>> ReadJournal(const std::string& liveexec,
                                                           const std::string& control);

// Gives `upgrade` the phases of the journalled one that began while it was under way.
void AddPhases(const std::vector<JournalledUpgrade>& journal, UpgradeSpan& upgrade);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_LIVEEXEC_JOURNAL_H_
