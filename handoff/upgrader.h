// Upgrader: the facade. One per process.
//
//   uv_loop_t loop; uv_loop_init(&loop);
//   liveexec::uv::LoopExecutor executor(&loop);
//   auto upgrader = liveexec::Upgrader::Create(executor, {.control_socket = "/run/echo/control"});
//   MyComponent component(...);
//   (*upgrader)->Register(component);
//   auto status = (*upgrader)->Start();    // fresh, or rehydrated and committed
//   if (!status.ok()) Die(status);
//   uv_run(&loop, UV_RUN_DEFAULT);         // serve; SIGHUP upgrades
//
// Threads. Create, Register, Start and the destructor belong to the thread of the main executor.
// Request and AddThread may be called from any thread.
//
// While nothing is being upgraded, the framework has no thread of its own where the main executor
// can watch an fd for it (Executor::Watch): the control socket and the upgrade signal are served
// between the main loop's callbacks, so one that blocks the loop delays `liveexec status` as well.
// An upgrade has two threads: the conductor, and one that runs the phases which precede the
// blackout. The blackout itself runs on the main executor's thread, and so does exec: signals
// pending on that thread survive.
#ifndef LIVEEXEC_HANDOFF_UPGRADER_H_
#define LIVEEXEC_HANDOFF_UPGRADER_H_

#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "handoff/component.h"
#include "handoff/executor.h"
#include "handoff/journal.h"

namespace liveexec {

struct UpgraderOptions {
  // What an upgrade without a path of its own execs. Empty: the path that this program was started
  // from. A path, not a pinned file: it is opened anew for each upgrade, so that a renamed-in build
  // is found.
  std::string upgrade_binary;

  // The signal that asks for an upgrade; 0 for none. It is blocked in every thread and read from a
  // signalfd.
  int upgrade_signal = SIGHUP;

  // Where to listen for `liveexec upgrade`; empty for no control socket. Its directory is made 0700
  // if it is missing, and must be owned by us and closed to others; the socket is 0600.
  std::string control_socket;

  // Environment variables that the new program gets, besides the usual ones (process_traits.h):
  // names, or prefixes that end in '*'.
  std::vector<std::string> allow_environment;

  // The longest that each phase may take; passing one abandons the upgrade (A), or after exec rolls
  // it back (C).
  absl::Duration check_deadline = absl::Seconds(10);
  absl::Duration rehearsal_deadline = absl::Seconds(30);
  // The longest that the loops may be stopped for the snapshot that a rehearsal gets. A state that
  // takes longer to export is sampled; the journal says so.
  absl::Duration rehearsal_slice = absl::Milliseconds(5);
  // For what components do ahead of the blackout (Component::Precopy).
  absl::Duration precopy_deadline = absl::Minutes(2);
  absl::Duration quiesce_deadline = absl::Seconds(5);
  // From the first stopped thread to exec. Passing it abandons the upgrade.
  absl::Duration blackout_budget = absl::Seconds(10);
  // From exec to commit. Passing it rolls the upgrade back.
  absl::Duration rehydrate_deadline = absl::Seconds(20);

  // Run the candidate on a snapshot of the real state first, in a process of its own.
  bool rehearse = true;
  bool custodian = true;

  // Keep a thread of the framework's own also while nothing is upgraded. Without it, in a server of
  // one thread, requests are taken up when the main loop turns: a callback that blocks delays them,
  // and the upgrade's deadlines begin then. It costs each of libc's reads, writes and waits some 50
  // instructions (DESIGN.md, section 4). Servers of several threads have it in any case.
  bool own_thread = false;

  // Under a supervisor that gave us a NOTIFY_SOCKET (systemd): tell it READY=1 when Start has
  // succeeded, RELOADING=1 and READY=1 around each upgrade, and a STATUS. An application that sends
  // its own READY=1 later says false. A resurrection says MAINPID in any case.
  bool notify_supervisor = true;
  // Leave the journal in the supervisor's fd store (FileDescriptorStoreMax=), where it outlives the
  // process: `history` goes on after a restart, and a program that ended within `probation` of its
  // upgrade, without having been stopped, counts as one that failed.
  bool keep_journal = false;
  absl::Duration probation = absl::Minutes(1);
};

struct UpgradeRequest {
  std::string binary;            // empty: UpgraderOptions::upgrade_binary
  bool to_previous = false;      // instead of `binary`: the program before this one
  std::string sha256;            // refuse any other file; hexadecimal; empty: any
  bool allow_downgrade = false;  // also to a lower security epoch
  absl::Duration max_blackout = absl::ZeroDuration();  // zero: UpgraderOptions::blackout_budget
  std::string trigger = "api";
};

class ProgramInfo;

class Upgrader {
 public:
  // Reads the program's own manifest note, takes the process's traits and finds out how it was
  // started. FailedPrecondition: the program has no LIVEEXEC_APPLICATION note, or there is an
  // Upgrader already. `main` is borrowed and must outlive the upgrader.
  static absl::StatusOr<std::unique_ptr<Upgrader>> Create(Executor& main, UpgraderOptions options);
  virtual ~Upgrader() = default;

  // True when no program handed anything over: bind sockets, load files.
  virtual bool fresh() const = 0;

  // Registers a component, in the order in which components are to be rehydrated. Borrowed; must
  // outlive the upgrader. Before Start only. InvalidArgument: bad name, or no LIVEEXEC_COMPONENT
  // note for it in this program. AlreadyExists: the name is taken.
  virtual absl::Status Register(Component& component) = 0;

  // A further thread that an upgrade must park. Borrowed until RemoveThread, which waits until no
  // upgrade uses it. See Crew in handoff/crew.h for threads that end with a scope.
  virtual void AddThread(Executor& executor) = 0;
  virtual void RemoveThread(Executor& executor) = 0;

  // Fresh: initializes and activates all components. After an exec: rehydrates, checks, commits,
  // activates. A failure of the latter does not return: the old program is started again from the
  // same state.
  virtual absl::Status Start() = 0;

  // Asks for an upgrade. `done` runs on the main executor if, and only if, this program goes on
  // serving: the upgrade was abandoned, or was refused because another one is under way. If it
  // commits, the new program's journal has the answer. May be called from any thread.
  using Done = absl::AnyInvocable<void(const JournalEntry&) &&>;
  virtual void Request(UpgradeRequest request, Done done) = 0;

  // What became of the upgrades so far: a copy, as more may be added at any time. Any thread.
  virtual Journal journal() const = 0;
  // The number of the newest of them (JournalEntry::upgrade); 0: none. Any thread.
  virtual uint64_t last_upgrade() const = 0;

  // How many upgrades this process has committed. 0 in a program that was started, not handed over
  // to.
  virtual uint64_t generation() const = 0;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_UPGRADER_H_
