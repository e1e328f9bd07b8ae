// The signals that the framework must leave blocked.
//
// An upgrade blocks every signal before exec, and the new program restores the mask that the
// process was started with once it has committed. A signal that a component reads from a signalfd
// must not become unblocked at that moment: one that is pending would take its default action. Such
// a component says so here, in its constructor or before Upgrader::Start.
#ifndef LIVEEXEC_HANDOFF_SIGNAL_MASK_H_
#define LIVEEXEC_HANDOFF_SIGNAL_MASK_H_

#include <signal.h>

namespace liveexec {

// Blocks `signo` (1 to 64) in the calling thread and notes, for the whole process, that it is to
// stay blocked. Other numbers are ignored. Any thread.
void KeepSignalBlocked(int signo);

// All signals that KeepSignalBlocked was called for. Any thread.
sigset_t SignalsKeptBlocked();

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_SIGNAL_MASK_H_
