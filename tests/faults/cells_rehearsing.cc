// Cells 24 to 36: what a rehearsal finds, and what it must not be able to do.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/faults/cells.h"
#include "tests/faults/fault_run.h"
#include "tests/faults/tracer.h"

namespace liveexec::faults {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestMessage = 8192;

// The candidate does `what` in its rehearsal.
Seen Rehearse(FaultRun& run, const std::string& what) {
  run.SetPlan("bad rehearsal " + what);
  return run.Upgrade(FaultRun::Program("bad"));
}

Seen MissingLibrary(FaultRun& run) {
  return run.Upgrade(run.PatchedCopyOf("v2", "libm.so.6", "libm.so.9"));
}

Seen Floods(FaultRun& run) {
  run.SetPlan("bad rehearsal main flood\nbad rehearsal rehydrate error");
  const Seen seen = run.Upgrade(FaultRun::Program("bad"));
  run.Expect(seen.message.size() < kLongestMessage,
             absl::StrCat("the answer has ", seen.message.size(), " bytes"));
  return seen;
}

// What the candidate does to its fds in a rehearsal must not reach the server's.
Seen MeddlesWithFds(FaultRun& run) {
  run.SetPlan("bad rehearsal selfcheck meddle");
  return run.Upgrade(FaultRun::Program("bad"));
}

// The first clone of the thread that prepares the upgrade is the rehearsal's: the server stops in
// its export for it, after that thread was started.
Seen SpawnFails(FaultRun& run) {
  run.SetPlan("v1 * export stop");
  run.BeginUpgrade(FaultRun::Program("v2"));
  run.AwaitStop();
  const Tracer tracer(run.pid(),
                      {"-e", "trace=clone,clone3,vfork,fork", "-e",
                       "inject=clone,clone3,vfork,fork:error=EAGAIN:when=1"},
                      Tracer::kAll);
  run.SetPlan("");
  run.Go();
  return run.AwaitUpgrade();
}

Seen StopThen(FaultRun& run, const std::string& path, void (*change)(const std::string&)) {
  run.SetPlan("bad rehearsal rehydrate stop");
  run.BeginUpgrade(path);
  run.AwaitStop();
  change(path);
  run.Go();
  return run.AwaitUpgrade();
}

Seen ReplacedAfterwards(FaultRun& run) {
  const Seen seen = StopThen(run, run.CopyOf("bad"), [](const std::string& path) {
    fs::copy_file(FaultRun::Program("stranger"), path + ".new");
    fs::rename(path + ".new", path);
  });
  run.Expect(run.Stats()["role"] == (seen.outcome == "B" ? "bad" : "v1"),
             "it is not the rehearsed program that runs");
  return seen;
}

Seen TouchedAfterwards(FaultRun& run) {
  return StopThen(run, run.CopyOf("bad"),
                  [](const std::string& path) { utimensat(AT_FDCWD, path.c_str(), nullptr, 0); });
}

Seen RemovedAfterwards(FaultRun& run) {
  return StopThen(run, run.CopyOf("bad"), [](const std::string& path) { fs::remove(path); });
}

}  // namespace

std::vector<Cell> RehearsingCells() {
  constexpr Proof kServes = Proof::kServes;
  const auto rehearse = [](const char* name, const char* number,
                           Seen (*provoke)(FaultRun&)) -> Cell {
    return {number, name, "A", "E_REHEARSAL", provoke};
  };
  return {
      rehearse("FindsAMissingLibrary", "24", MissingLibrary),
      rehearse("SurvivesACrash", "25", [](FaultRun& r) { return Rehearse(r, "rehydrate segv"); }),
      rehearse("SurvivesACrashInAConstructor", "25",
               [](FaultRun& r) { return Rehearse(r, "static segv"); }),
      rehearse("SurvivesAnException", "25", [](FaultRun& r) { return Rehearse(r, "main throw"); }),
      {"26", "KillsACandidateThatHangs", "A", "E_REHEARSAL",
       [](FaultRun& r) { return Rehearse(r, "rehydrate hang"); }, kServes, "rehearsal=2000"},
      {"27", "RefusesASchemaThatTheNoteRulesOut", "A", "E_SCHEMA",
       [](FaultRun& r) { return r.Upgrade(FaultRun::Program("incompatible")); }},
      {"27", "RefusesASchemaThatTheRehearsalRulesOut", "A", "E_SCHEMA",
       [](FaultRun& r) { return Rehearse(r, "rehydrate error E_SCHEMA"); }},
      {"27", "RefusesWhatTheCandidateCannotRead", "A", "E_REHEARSAL",
       [](FaultRun& r) { return Rehearse(r, "rehydrate error"); }},
      rehearse("RefusesAGarbageReply", "28",
               [](FaultRun& r) { return Rehearse(r, "rehydrate scribble"); }),
      rehearse("RefusesAnExitWithoutReply", "29",
               [](FaultRun& r) { return Rehearse(r, "main exit 0"); }),
      rehearse("SurvivesACandidateThatRunsOutOfMemory", "30",
               [](FaultRun& r) { return Rehearse(r, "rehydrate memory"); }),
      rehearse("SurvivesAKilledCandidate", "31",
               [](FaultRun& r) { return Rehearse(r, "rehydrate kill"); }),
      {"32", "RefusesWhenItCannotSpawn", "A", "E_GUARD", SpawnFails},
      {"33", "KeepsARehearsalAwayFromTheRealFds", "B", "", MeddlesWithFds},
      // It kills the thread that breaks its rule, and the others stand.
      {"34", "SurvivesACandidateThatSeccompKills", "A", "E_REHEARSAL",
       [](FaultRun& r) { return Rehearse(r, "rehydrate seccomp"); }, kServes, "rehearsal=2000"},
      {"35", "BoundsACandidatesOutput", "A", "E_REHEARSAL", Floods},
      {"36", "RunsTheRehearsedBytesWhenTheFileIsReplaced", "B", "", ReplacedAfterwards},
      {"36", "RefusesAFileThatWasTouched", "A", "E_CHANGED", TouchedAfterwards},
      {"36", "RunsTheRehearsedBytesWhenTheFileIsRemoved", "B", "", RemovedAfterwards},
  };
}

}  // namespace liveexec::faults
