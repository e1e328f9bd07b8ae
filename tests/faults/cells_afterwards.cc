// Cells 73 to 76, 83 and 84: after the commit, and one upgrade after another.
#include <unistd.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "tests/faults/cells.h"
#include "tests/faults/fault_run.h"
#include "tests/harness/endpoint.h"

namespace liveexec::faults {
namespace {

Seen CrashesAfterCommit(FaultRun& run) {
  run.SetPlan("bad upgrade serving segv");
  Seen seen = run.Upgrade(FaultRun::Program("bad"));
  if (seen.outcome == "?") seen.outcome = "D";
  return seen;
}

// Connections that come while nobody accepts wait in the kernel.
Seen FloodedInTheBlackout(FaultRun& run) {
  constexpr int kFlood = 300;
  run.SetPlan("v2 upgrade rehydrate stop");
  run.BeginUpgrade(FaultRun::Program("v2"));
  run.AwaitStop();
  std::vector<UniqueFd> peers;
  for (int i = 0; i < kFlood; ++i) {
    auto peer = harness::Dial(run.endpoint());
    const char byte = static_cast<char>(i);
    if (peer.ok() && write(peer->get(), &byte, 1) == 1) peers.push_back(*std::move(peer));
  }
  run.Expect(peers.size() == kFlood, absl::StrCat("only ", peers.size(), " could connect"));
  run.Go();
  const Seen seen = run.AwaitUpgrade();
  for (size_t i = 0; i < peers.size(); ++i) {
    char byte = 0;
    const bool echoed = read(peers[i].get(), &byte, 1) == 1 && byte == static_cast<char>(i);
    run.Expect(echoed, absl::StrCat("connection ", i, " of the flood was not served"));
  }
  run.AddEchoed(peers.size());
  return seen;
}

Seen ManyUpgrades(FaultRun& run) {
  constexpr int kUpgrades = 100, kWarmUp = 10;
  constexpr int64_t kNoise = 2 << 20;  // resident bytes
  int64_t warm_bytes = 0;
  Seen seen;
  for (int i = 0; i < kUpgrades; ++i) {
    seen = run.Upgrade(FaultRun::Program(i % 2 == 0 ? "v2" : "v1"));
    run.Expect(seen.outcome == "B", absl::StrCat("upgrade ", i, ": ", seen.message));
    if (seen.outcome != "B") break;
    if (i == kWarmUp) warm_bytes = run.ResidentBytes();
  }
  const int64_t growth = run.ResidentBytes() - warm_bytes;
  run.Expect(growth < kNoise, absl::StrCat("resident memory grew by ", growth, " bytes"));
  run.Expect(run.Stat("generation") == kUpgrades, "the generation is wrong");
  return seen;
}

// All pairs of an older, the same and a newer schema. An older program reads no newer state.
Seen VersionsInEveryOrder(FaultRun& run) {
  struct Step {
    const char* to;
    const char* outcome;
    const char* code;
  };
  constexpr Step kSteps[] = {
      {"old", "A", "E_SCHEMA"}, {"v1", "B", ""},          {"v2", "B", ""},
      {"v1", "B", ""},          {"new", "B", ""},         {"v1", "A", "E_SCHEMA"},
      {"new", "B", ""},         {"old", "A", "E_SCHEMA"}, {"incompatible", "B", ""},
      {"new", "B", ""},
  };
  Seen seen;
  for (const Step& step : kSteps) {
    seen = run.Upgrade(FaultRun::Program(step.to));
    run.Expect(seen.outcome == step.outcome && seen.code == step.code,
               absl::StrCat("to ", step.to, ": promised ", step.outcome, " ", step.code, ", seen ",
                            seen.outcome, " ", seen.code, " ", seen.message));
  }
  return seen;
}

Seen CustodianKilled(FaultRun& run) {
  run.SetPlan("bad upgrade rehydrate stop");
  run.BeginUpgrade(FaultRun::Program("bad"));
  run.AwaitStop();
  const pid_t custodian = run.CustodianPid();
  run.Expect(custodian > 0, "there is no custodian");
  if (custodian > 0) kill(custodian, SIGKILL);
  // What it shares with the server it takes a moment to let go of.
  run.Expect(Eventually([&] { return run.CustodianPid() == 0; }), "the custodian does not end");
  run.Go();
  const Seen seen = run.AwaitUpgrade();
  run.Expect(!run.entry().notes.empty(), "nobody reports that the custodian has ended");
  return seen;
}

Seen RollbackThenUpgrade(FaultRun& run) {
  run.SetPlan("bad upgrade rehydrate segv");
  const Seen failed = run.Upgrade(FaultRun::Program("bad"));
  run.Expect(failed.outcome == "C", "not rolled back: " + failed.outcome);
  run.ProveClients();
  run.SetPlan("");
  return run.Upgrade(FaultRun::Program("bad"));
}

Seen ResurrectionThenUpgrade(FaultRun& run) {
  run.SetPlan("bad upgrade rehydrate kill");
  const Seen failed = run.Upgrade(FaultRun::Program("bad"));
  run.Expect(failed.outcome == "R", "not resurrected: " + failed.outcome);
  run.ProveClients();
  run.SetPlan("");
  return run.Upgrade(FaultRun::Program("bad"));
}

}  // namespace

std::vector<Cell> AfterwardsCells() {
  return {
      {"73", "IsLostWhenItCrashesAfterTheCommit", "D", "E_LOST", CrashesAfterCommit, Proof::kLost},
      {"74", "ServesAFloodInTheBlackout", "B", "", FloodedInTheBlackout},
      {"75", "DoesNotDriftInAHundredUpgrades", "B", "", ManyUpgrades},
      {"76", "TakesVersionsInEveryOrder", "B", "", VersionsInEveryOrder},
      {"83", "GoesOnWhenTheCustodianIsKilled", "B", "", CustodianKilled},
      {"84", "UpgradesAfterARollback", "B", "", RollbackThenUpgrade},
      {"84", "UpgradesAfterAResurrection", "B", "", ResurrectionThenUpgrade},
  };
}

}  // namespace liveexec::faults
