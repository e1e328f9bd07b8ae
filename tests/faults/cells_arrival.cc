// Cells 64 to 72 and 79 to 82: the new program fails between exec and commit.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/faults/call_trace.h"
#include "tests/faults/cells.h"
#include "tests/faults/fault_run.h"
#include "tests/faults/tracer.h"

namespace liveexec::faults {
namespace {

constexpr int kManyClients = 600;

// The new program does `what`, in the crossing alone.
Seen Arrive(FaultRun& run, const std::string& what) {
  run.SetPlan("bad upgrade " + what);
  return run.Upgrade(FaultRun::Program("bad"));
}

// One call of the main thread is made to fail in an upgrade to v2.
Seen WithFault(FaultRun& run, const CallWanted& wanted, const std::string& fault) {
  const int ordinal = OrdinalOf(wanted, {.threads = run.threads()});
  const Tracer tracer(run.pid(),
                      {"-e", "trace=" + wanted.call, "-e",
                       absl::StrCat("inject=", wanted.call, ":", fault, ":when=", ordinal)},
                      Tracer::kMainThread);
  return run.Upgrade(FaultRun::Program("v2"));
}

Seen ExpectWords(FaultRun& run, const Seen& seen, const std::string& words) {
  run.Expect(seen.message.find(words) != std::string::npos,
             absl::StrCat("the message does not say '", words, "': ", seen.message));
  return seen;
}

void StopIn(FaultRun& run, const std::string& point) {
  run.SetPlan("bad upgrade " + point + " stop");
  run.BeginUpgrade(FaultRun::Program("bad"));
  run.AwaitStop();
}

// Without a rehearsal nobody has noticed that a library is missing.
Seen LoaderDies(FaultRun& run) {
  return run.Upgrade(run.PatchedCopyOf("v2", "libm.so.6", "libm.so.9"));
}

Seen KilledAfterTheSeal(FaultRun& run) {
  StopIn(run, "rehydrate");
  kill(run.pid(), SIGKILL);
  return run.AwaitUpgrade();
}

// Programs whose images begin otherwise.
Seen BadMagic(FaultRun& run) {
  return run.Upgrade(run.PatchedCopyOf("v2", "LVXIMAGE", "LVXIMAGF"));
}

// The kernel tells the new program that nothing is sealed.
Seen NotSealed(FaultRun& run) {
  return WithFault(run, {"fcntl", "F_GET_SEALS", "execveat"}, "retval=0");
}

Seen AnotherSocket(FaultRun& run) {
  return WithFault(run, {"getsockopt", "SO_COOKIE", "execveat"},
                   "poke_exit=@arg4=0100000000000000");
}

// The framework's own event loop is made while there is a way back.
Seen NoFdForTheConductor(FaultRun& run) {
  return ExpectWords(run, WithFault(run, {"signalfd4", "[HUP]", "execveat"}, "error=EMFILE"),
                     "signalfd");
}

// Between exec and arrival nobody holds the file's POSIX lock. Whoever takes it then keeps it: the
// new program goes back, and the old one says what it has lost.
Seen LockIsTaken(FaultRun& run) {
  StopIn(run, "static");
  const UniqueFd data(open(run.File("data").c_str(), O_RDWR | O_CLOEXEC));
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  run.Expect(fcntl(data.get(), F_SETLK, &lock) == 0, "the lock is held while nobody can hold it");
  run.Go();
  const Seen seen = run.AwaitUpgrade();
  bool told = false;
  for (const std::string& note : run.entry().notes) {
    told = told || note.find(absl::StrCat("PID ", getpid())) != std::string::npos;
  }
  run.Expect(told, "nobody says who has the lock that is lost");
  run.TakeBaseline();
  return seen;
}

// Resident memory is read-only until the commit, in every shard.
Seen WritesEarly(FaultRun& run, const std::string& what) {
  return ExpectWords(run, Arrive(run, what),
                     "the new program wrote to resident memory before the commit");
}

bool HasNote(FaultRun& run, const std::string& words) {
  for (const std::string& note : run.entry().notes) {
    if (note.find(words) != std::string::npos) return true;
  }
  return false;
}

// Found after exec, because the rehearsal was as it should be. The next upgrade to the same file
// does without resident memory.
Seen AddressIsTaken(FaultRun& run) {
  const Seen seen = Arrive(run, "static squat");
  run.Expect(run.Upgrade(FaultRun::Program("bad")).outcome == "B",
             "the second upgrade did not go round the address that is taken");
  run.Expect(HasNote(run, "its address was taken"), "nobody says why it went another way");
  return seen;
}

// Found by the rehearsal: the same upgrade goes another way.
Seen AddressIsTakenInTheRehearsal(FaultRun& run) {
  run.SetPlan("bad * static squat");
  const Seen seen = run.Upgrade(FaultRun::Program("bad"));
  run.Expect(HasNote(run, "resident memory stays behind"), "nobody says which way it went");
  return seen;
}

Seen FewerFdsAllowed(FaultRun& run) {
  run.AddIdleClients(kManyClients);
  return Arrive(run, "static nofile 50");
}

Seen TerminatedWhileArriving(FaultRun& run) {
  StopIn(run, "rehydrate");
  kill(run.pid(), SIGTERM);
  run.Go();
  const Seen seen = run.AwaitUpgrade();
  return seen.outcome == "?" ? Seen{"B", "", seen.message} : seen;
}

// The new program crashes, and the old one cannot be started in the same process.
Seen RollbackCannotExec(FaultRun& run) {
  run.SetPlan("bad upgrade rehydrate segv");
  const Tracer tracer(run.pid(),
                      {"-e", "trace=execveat", "-e", "inject=execveat:error=ENOENT:when=2+"},
                      Tracer::kMainThread);
  Seen seen = run.Upgrade(FaultRun::Program("bad"));
  if (seen.outcome == "?") seen.outcome = "D";
  return seen;
}

Seen OldProgramFailsToo(FaultRun& run) {
  run.SetPlan(
      "bad upgrade rehydrate segv\nv1 rollback rehydrate error\n"
      "v1 resurrection rehydrate error");
  Seen seen = run.Upgrade(FaultRun::Program("bad"));
  if (seen.outcome != "?") return seen;
  seen.outcome = "D";
  // Once for the rollback, once for the resurrection.
  std::vector<std::string> kept;
  run.Expect(Eventually([&] { return (kept = run.Wreckage()).size() == 2; }),
             "the state was not kept for inspection");
  for (const std::string& directory : kept) {
    run.Expect(std::filesystem::exists(directory + "/manifest.image"), "there is no manifest");
    std::filesystem::remove_all(directory);
  }
  return seen;
}

// Only the rollback fails; the resurrection, in another process, succeeds.
Seen OldProgramFailsOnce(FaultRun& run) {
  run.SetPlan("bad upgrade rehydrate segv\nv1 rollback rehydrate error");
  const Seen seen = run.Upgrade(FaultRun::Program("bad"));
  for (const std::string& directory : run.Wreckage()) std::filesystem::remove_all(directory);
  return seen;
}

Cell Crash(const char* name, Seen (*provoke)(FaultRun&)) {
  return {"69", name, "C", "E_CRASH", provoke};
}

std::vector<Cell> CrashCells() {
  return {
      Crash("RollsBackANullWrite",
            [](FaultRun& r) { return ExpectWords(r, Arrive(r, "rehydrate segv"), "SIGSEGV"); }),
      Crash("RollsBackAnAbort",
            [](FaultRun& r) { return ExpectWords(r, Arrive(r, "rehydrate abort"), "SIGABRT"); }),
      Crash("RollsBackAStackOverflow",
            [](FaultRun& r) { return ExpectWords(r, Arrive(r, "rehydrate stack"), "SIGSEGV"); }),
      Crash("RollsBackADivisionByZero",
            [](FaultRun& r) { return ExpectWords(r, Arrive(r, "rehydrate fpe"), "SIGFPE"); }),
      Crash("RollsBackAnIllegalInstruction",
            [](FaultRun& r) { return ExpectWords(r, Arrive(r, "rehydrate ill"), "SIGILL"); }),
      Crash("RollsBackABreakpoint",
            [](FaultRun& r) { return ExpectWords(r, Arrive(r, "rehydrate trap"), "SIGTRAP"); }),
      Crash("RollsBackACrashInAConstructor", [](FaultRun& r) { return Arrive(r, "static segv"); }),
      Crash("RollsBackACrashInMain", [](FaultRun& r) { return Arrive(r, "main segv"); }),
      Crash("RollsBackAnUncaughtException", [](FaultRun& r) { return Arrive(r, "main throw"); }),
      Crash("RollsBackACrashInTheSelfCheck",
            [](FaultRun& r) { return Arrive(r, "selfcheck segv"); }),
      {"69", "RollsBackAHang", "C", "E_TIMEOUT",
       [](FaultRun& r) { return Arrive(r, "rehydrate hang"); }, Proof::kServes, "rehydrate=2000"},
      {"69", "RollsBackAHangInAConstructor", "C", "E_TIMEOUT",
       [](FaultRun& r) { return Arrive(r, "static hang"); }, Proof::kServes, "rehydrate=2000"},
      {"69", "ResurrectsWhenAHangBlocksAllSignals", "C|R", "E_TIMEOUT|E_KILLED",
       [](FaultRun& r) { return Arrive(r, "rehydrate hang-blocked"); }, Proof::kServes,
       "rehydrate=2000"},
      {"69", "RollsBackWhenItRunsOutOfMemory", "C", "E_MEMORY",
       [](FaultRun& r) { return Arrive(r, "rehydrate memory"); }},
      {"69", "RollsBackAnExit", "C", "E_EXIT",
       [](FaultRun& r) { return Arrive(r, "rehydrate exit 0"); }},
      {"69", "RollsBackAnExitInMain", "C", "E_EXIT",
       [](FaultRun& r) { return Arrive(r, "main exit 3"); }},
      {"69", "RollsBackWithoutACustodian", "C", "E_CRASH",
       [](FaultRun& r) { return Arrive(r, "rehydrate segv"); }, Proof::kServes, "custodian=0"},
      {"69", "RollsBackWithoutARehearsal", "C", "E_CRASH",
       [](FaultRun& r) {
         r.SetPlan("bad * rehydrate segv");
         return r.Upgrade(FaultRun::Program("bad"));
       },
       Proof::kServes, "rehearse=0"},
  };
}

std::vector<Cell> DeathCells() {
  return {
      {"64", "ResurrectsWhenTheLoaderDies", "R", "E_KILLED|E_EXIT", LoaderDies, Proof::kServes,
       "rehearse=0"},
      {"64", "ResurrectsAfterSigkillInAConstructor", "R", "E_KILLED",
       [](FaultRun& r) { return Arrive(r, "static kill"); }},
      {"70", "ResurrectsAfterTheOomKiller", "R", "E_KILLED",
       [](FaultRun& r) { return Arrive(r, "rehydrate kill"); }},
      {"70", "ResurrectsAfterARawExit", "R", "E_KILLED|E_EXIT",
       [](FaultRun& r) { return Arrive(r, "rehydrate _exit 1"); }},
      {"79", "ResurrectsAfterSigkillFromOutside", "R", "E_KILLED", KilledAfterTheSeal},
      {"72", "ResurrectsWhenTheRollbackCannotExec", "R", "E_CRASH", RollbackCannotExec},
      {"72", "IsLostWhenNobodyGuardsARollbackThatCannotExec", "D", "E_LOST", RollbackCannotExec,
       Proof::kLost, "custodian=0"},
      {"82", "ResurrectsWhenTheOldProgramFailsOnce", "R", "E_CRASH", OldProgramFailsOnce},
      {"82", "IsLostWhenTheOldProgramCannotReadItsOwnState", "D", "E_LOST", OldProgramFailsToo,
       Proof::kLost},
  };
}

std::vector<Cell> RefusalCells() {
  return {
      {"65", "RollsBackABadMagic", "C", "E_IMAGE", BadMagic, Proof::kServes, "rehearse=0"},
      {"65", "RollsBackAnImageThatIsNotSealed", "C", "E_SEAL", NotSealed},
      {"66", "RollsBackUnderALowerFdLimit", "C", "E_FDS", FewerFdsAllowed},
      {"66", "RollsBackWhenTheFrameworksOwnLoopGetsNoFd", "C", "E_FDS", NoFdForTheConductor},
      {"67", "RollsBackWhenAnFdIsNotTheOneInTheTable", "C", "E_FDTABLE", AnotherSocket},
      {"67", "RollsBackWhenALockIsTakenMeanwhile", "C", "E_LOCK", LockIsTaken},
      {"68", "RollsBackWhenAnImporterFails", "C", "E_REHYDRATE",
       [](FaultRun& r) { return Arrive(r, "rehydrate error"); }},
      {"68", "RollsBackWhenAnImporterThrows", "C", "E_REHYDRATE|E_EXCEPTION",
       [](FaultRun& r) { return Arrive(r, "rehydrate throw"); }},
      {"68", "RollsBackWhenResidentMemoryHasNoPlace", "C", "E_ADDRESS", AddressIsTaken},
      {"68", "ExportsWhenResidentMemoryWouldHaveNoPlace", "B", "", AddressIsTakenInTheRehearsal},
      {"80", "RollsBackAWriteToResidentMemoryInRehydrate", "C", "E_EARLY",
       [](FaultRun& r) { return WritesEarly(r, "rehydrate early-write 0"); }},
      {"80", "RollsBackAWriteToAnotherShardInTheSelfCheck", "C", "E_EARLY",
       [](FaultRun& r) { return WritesEarly(r, "selfcheck early-write 1"); }},
      {"71", "FinishesBeforeItStopsAtSigterm", "B", "", TerminatedWhileArriving, Proof::kStopped},
      {"81", "RollsBackWhenTheSelfCheckFails", "C", "E_SELFCHECK",
       [](FaultRun& r) { return Arrive(r, "selfcheck error"); }},
      {"81", "RollsBackWhenTheSelfCheckThrows", "C", "E_SELFCHECK|E_EXCEPTION",
       [](FaultRun& r) { return Arrive(r, "selfcheck throw"); }},
  };
}

}  // namespace

std::vector<Cell> ArrivalCells() {
  std::vector<Cell> all;
  for (const auto& some : {RefusalCells(), CrashCells(), DeathCells()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace liveexec::faults
