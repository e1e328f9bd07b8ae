// The custodian: a process that outlives ours, if ours dies between seal and commit, and then
// starts the old program again from the escrow. DESIGN.md, section 6.
//
// It is a clone(CLONE_VM) child: it shares the old program's address space and so keeps it alive
// across exec, which makes exec quick whatever the size of the heap; the custodian returns the
// memory after commit. It has a copy of the fd table, not the table itself (closing an
// fd of a shared one would drop our POSIX locks), and closes all of it but stdio, the channel, the
// old program and a pidfd of us.
//
// It shares our thread-local storage too, errno included: so it makes raw system calls only, on a
// stack of its own, with all signals blocked. Its exit signal is 0: no SIGCHLD, and a wait for any
// child does not see it, until its parent has exec'd: then it is a child like any other.
#ifndef LIVEEXEC_HANDOFF_CUSTODIAN_H_
#define LIVEEXEC_HANDOFF_CUSTODIAN_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "handoff/flight_recorder.h"
#include "handoff/image_file.h"

namespace liveexec {

class Custodian {
 public:
  struct Charge {
    int channel = -1;                // the receiving end, borrowed
    int old_program = -1;            // O_PATH, borrowed
    FlightRecord* record = nullptr;  // mapped for as long as the custodian lives
    Nonce nonce = {};
    std::vector<std::string> arguments;
    std::vector<std::string> environment;
  };

  // Starts it and notes its pid in the record. The calling thread must have all signals blocked.
  // Errors carry the errno (EAGAIN, ENOMEM, EMFILE).
  static absl::StatusOr<std::unique_ptr<Custodian>> Start(Charge charge);

  // Abandoned: ends it and waits for its end, which is quick, as the memory is not returned.
  ~Custodian();
  Custodian(const Custodian&) = delete;
  Custodian& operator=(const Custodian&) = delete;

  pid_t pid() const { return pid_; }

 private:
  struct Memory;

  Custodian(pid_t pid, std::unique_ptr<Memory> memory);

  pid_t pid_;
  std::unique_ptr<Memory> memory_;  // what it runs on and reads
};

// For the program after exec, which knows the custodian by its pid in the record.

// True when it has ended already: nobody was on guard.
bool CustodianHasEnded(pid_t pid);
// Commit: tells it to end. It lets go of the channel, and returns the old program's memory piece by
// piece (a GiB in half a second or so) before it ends.
void DismissCustodian(pid_t pid);
// True once it is reaped, or not our child. Never blocks.
bool ReapCustodian(pid_t pid);
// Kills it and waits for its end.
void EndCustodian(pid_t pid);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CUSTODIAN_H_
