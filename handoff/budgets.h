// What an upgrade will need, computed before anything is stopped for it.
#ifndef LIVEEXEC_HANDOFF_BUDGETS_H_
#define LIVEEXEC_HANDOFF_BUDGETS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "handoff/attempt.h"
#include "handoff/program.h"

namespace liveexec {

// E_FDS: RLIMIT_NOFILE leaves too few fds for the images and the loader. Needs attempt.open_fds.
absl::Status CheckFdBudget(Program& program, Attempt& attempt);

// E_NOMEM: the images would not fit into the memory that is left, of the machine or of our cgroup.
// `state_bytes` is what the components exported for the rehearsal.
absl::Status CheckMemoryBudget(Attempt& attempt, uint64_t state_bytes);

// E_FDPUSH: the send buffer of the attempt's channel is too small for what may be carried. Needs
// attempt.open_fds as they are when nothing more is opened for the upgrade.
absl::Status CheckChannelBudget(Program& program, Attempt& attempt);

// "needs 91 of 1024 fds, about 34 of 15873 MiB of memory, 2 of 278 messages of the fd channel".
std::string DescribeNeeds(const Needs& needs);

// The shortest of the last five committed blackouts; 0: there was none. The shortest, because the
// machine may have stalled in one of them: that must not refuse all upgrades that follow.
int64_t ShortestRecentBlackoutNs(const Journal& journal);

// E_BLACKOUT: it would take longer than the attempt's budget, judged by the last upgrades of this
// process and by how long the snapshot took.
absl::Status CheckBlackoutBudget(Program& program, const Attempt& attempt, int64_t snapshot_ns);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_BUDGETS_H_
