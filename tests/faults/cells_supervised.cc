// Cells 27, 69, 73 and 79 under a supervisor: what it is told, and what it keeps.
#include <unistd.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "tests/faults/cells.h"
#include "tests/faults/fault_run.h"
#include "tests/harness/endpoint.h"

namespace liveexec::faults {
namespace {

// Crashes as soon as it serves; what the supervisor starts then stops before it does anything.
constexpr char kCrashesWhenServing[] = "bad upgrade serving segv\nv1 fresh main stop";
constexpr int kFreeFailures = 3;

void ExpectWord(FaultRun& run, const std::string& pattern, harness::ServerUnderTest::Mark since) {
  const auto line = run.server().WaitForLine("^supervisor: " + pattern, since);
  run.Expect(line.ok(), absl::StrCat("the supervisor was not told: ", pattern));
}

// Dies after its commit, and is started again by the supervisor. Who connects meanwhile waits.
Seen CrashOnce(FaultRun& run) {
  run.SetPlan(kCrashesWhenServing);
  run.BeginUpgrade(FaultRun::Program("bad"));
  run.AwaitStop();
  Seen seen = run.AwaitUpgrade();
  if (seen.outcome == "?") seen.outcome = "D";
  {
    auto peer = harness::Dial(run.endpoint());
    run.Expect(peer.ok(), "nobody listens while the server is started again");
    run.SetPlan("");
    run.Go();
    char byte = 'x';
    const bool served = peer.ok() && write(peer->get(), &byte, 1) == 1 &&
                        read(peer->get(), &byte, 1) == 1 && byte == 'x';
    run.Expect(served, "who connected meanwhile is not served");
  }
  run.BeginAnew();
  return seen;
}

Seen ListenersOutliveACrash(FaultRun& run) {
  Seen seen;
  for (int i = 0; i < kFreeFailures; ++i) {
    seen = CrashOnce(run);
    const std::vector<JournalEntry> history = run.History();
    run.Expect(history.size() == static_cast<size_t>(i) + 1, "the journal was not kept");
    run.Expect(!history.empty() && history.back().code == "E_DIED",
               "the crash is not in the journal");
  }
  const Seen denied = run.Upgrade(FaultRun::Program("bad"));
  run.Expect(denied.code == "E_DENIED",
             absl::StrCat("crashes after the commit do not count against the binary: ",
                          denied.outcome, " ", denied.code));
  return seen;
}

// A restart by its own wish is no failure, and nothing of before is kept against it.
Seen StopsSoonAfterAnUpgrade(FaultRun& run) {
  const Seen seen = run.Upgrade(FaultRun::Program("v2"));
  const auto mark = run.server().OutputMark();
  kill(run.pid(), SIGTERM);
  ExpectWord(run, "FDSTOREREMOVE=1 FDNAME=liveexec-journal", mark);
  ExpectWord(run, "main process [0-9]+ ended, status 0", mark);
  return seen;
}

Seen ResurrectedUnderASupervisor(FaultRun& run) {
  const auto mark = run.server().OutputMark();
  run.SetPlan("bad upgrade rehydrate kill");
  const Seen seen = run.Upgrade(FaultRun::Program("bad"));
  ExpectWord(run, absl::StrCat("MAINPID=", run.pid(), " READY=1"), mark);
  return seen;
}

Seen FailsAndSaysSo(FaultRun& run, const std::string& plan, const std::string& binary,
                    const std::string& status) {
  const auto mark = run.server().OutputMark();
  run.SetPlan(plan);
  const Seen seen = run.Upgrade(FaultRun::Program(binary));
  ExpectWord(run, absl::StrCat("RELOADING=1 MONOTONIC_USEC=[0-9]+ STATUS=upgrading to .*", binary),
             mark);
  ExpectWord(run, "READY=1 STATUS=" + status, mark);
  return seen;
}

Seen RefusedUnderASupervisor(FaultRun& run) {
  return FailsAndSaysSo(run, "", "incompatible", "upgrade to .* abandoned: E_SCHEMA: ");
}

Seen RolledBackUnderASupervisor(FaultRun& run) {
  return FailsAndSaysSo(run, "bad upgrade rehydrate segv", "bad",
                        "upgrade to .* rolled back: E_CRASH: ");
}

}  // namespace

std::vector<Cell> SupervisedCells() {
  return {
      {"27", "TellsTheSupervisorOfARefusal", "A", "E_SCHEMA", RefusedUnderASupervisor,
       Proof::kServes, "", "restart"},
      {"69", "TellsTheSupervisorOfARollback", "C", "E_CRASH", RolledBackUnderASupervisor,
       Proof::kServes, "", "restart"},
      {"73", "ListenersAndJournalOutliveACrash", "D", "E_LOST", ListenersOutliveACrash,
       Proof::kServes, "store=1", "restart"},
      {"73", "AStopSoonAfterAnUpgradeIsNoFailure", "B", "", StopsSoonAfterAnUpgrade,
       Proof::kStopped, "store=1", "restart"},
      {"79", "TellsTheSupervisorWhoWasResurrected", "R", "E_KILLED", ResurrectedUnderASupervisor,
       Proof::kServes, "", "patient"},
  };
}

}  // namespace liveexec::faults
