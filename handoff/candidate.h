// The Checking phase: may this file take over from us? Decided without running it.
#ifndef LIVEEXEC_HANDOFF_CANDIDATE_H_
#define LIVEEXEC_HANDOFF_CANDIDATE_H_

#include <string>

#include "absl/status/status.h"
#include "handoff/attempt.h"
#include "handoff/program.h"

namespace liveexec {

// Pins the attempt's candidate and fills in what the journal says of it. The codes of CheckFile and
// Compare; E_HASH: not the file that was asked for; E_DENIED: this very file failed again and
// again, try later; E_NOENT: a rollback was asked for and there is no program before this one;
// E_TIMEOUT.
absl::Status CheckCandidate(Program& program, Attempt& attempt);

// Names a file's content as far as its metadata can: for telling a rebuilt binary from one that
// failed before.
std::string IdentityText(const FileIdentity& identity);

// How long, from now, a file with this identity is refused for its failures so far: three in a row
// cost 10 seconds, each further one twice as much, 10 minutes at most. Only failures of the program
// itself count, not refusals that came before it ran. 0: it may try.
int64_t DeniedForNs(const Journal& journal, const std::string& identity, int64_t now_unix_ns);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CANDIDATE_H_
