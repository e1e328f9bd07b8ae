// Cells 37 to 63: the blackout in the old program. Whatever fails there, it goes on.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/faults/call_trace.h"
#include "tests/faults/cells.h"
#include "tests/faults/fault_run.h"
#include "tests/faults/tracer.h"
#include "tests/harness/endpoint.h"

namespace liveexec::faults {
namespace {

constexpr int kManyClients = 600;  // three batches of fds

Seen WithPlan(FaultRun& run, const std::string& plan) {
  run.SetPlan(plan);
  return run.Upgrade(FaultRun::Program("v2"));
}

// An upgrade of which the main thread's calls are failed: "execveat:error=EAGAIN".
Seen WithInjection(FaultRun& run, const std::string& injection) {
  const std::string call = injection.substr(0, injection.find(':'));
  const Tracer tracer(run.pid(), {"-e", "trace=" + call, "-e", "inject=" + injection},
                      Tracer::kMainThread);
  return run.Upgrade(FaultRun::Program("v2"));
}

// The same for one particular call.
Seen WithInjection(FaultRun& run, const CallWanted& wanted, const std::string& fault) {
  const int ordinal = OrdinalOf(wanted, {.threads = run.threads(), .idle = 3});
  return WithInjection(run, absl::StrCat(wanted.call, ":", fault, ":when=", ordinal));
}

// --- Quiescing ---

// A thread of the pool works, and does not end.
Seen PoolIsStuck(FaultRun& run) {
  // The baseline is to have the pool's threads, but not what one of them has open while it stands.
  run.Side("pool");
  run.AwaitStop();
  run.Go();
  run.Expect(run.AwaitStat("pool_works", 1), "the thread of the pool does not go on");
  run.TakeBaseline();
  run.Side("pool");
  run.AwaitStop();
  const Seen seen = run.Upgrade(FaultRun::Program("v2"));
  run.Go();
  return seen;
}

// A callback on the main loop does not return.
Seen LoopIsStuck(FaultRun& run) {
  run.Side("block");
  run.AwaitStop();
  const Seen seen = run.Upgrade(FaultRun::Program("v2"));
  run.Go();
  return seen;
}

// A callback on the last loop does not return. Where there are several, the main one serves on.
Seen LastLoopIsStuck(FaultRun& run) {
  run.Side("block-last");
  run.AwaitStop();
  const Seen seen = run.Upgrade(FaultRun::Program("v2"));
  if (run.threads() > 1) run.Expect(run.Stats()["role"] == "v1", "the main loop does not serve on");
  run.Go();
  return seen;
}

// Nothing is asked of a thread of the crew until it is to drain; of the main one, a Precopy is.
Seen LastLoopIsStuckWithoutARehearsal(FaultRun& run) {
  const Seen seen = LastLoopIsStuck(run);
  const std::string code = run.threads() > 1 ? "E_QUIESCE" : "E_TIMEOUT";
  run.Expect(seen.code == code, absl::StrCat("the code is not ", code, ": ", seen.message));
  return seen;
}

// The same, but it returns: an upgrade that was asked for meanwhile is not forgotten.
Seen LoopTurnsAgain(FaultRun& run) {
  run.Side("block");
  run.AwaitStop();
  run.BeginUpgrade(FaultRun::Program("v2"));
  run.Go();
  return run.AwaitUpgrade();
}

// SIGTERM in the blackout: the old program ends as it was asked to.
Seen TerminatedWhileExporting(FaultRun& run) {
  run.SetPlan("v1 * export stop");
  run.BeginUpgrade(FaultRun::Program("v2"));
  run.AwaitStop();
  run.SetPlan("");
  kill(run.pid(), SIGTERM);
  run.Go();
  const Seen seen = run.AwaitUpgrade();
  // The answer may be lost to the shutdown that was asked for; the program in whose name it would
  // be given may not.
  if (seen.outcome == "?") return {"A", "E_CANCELLED", seen.message};
  return seen;
}

// A storm in the middle of the crossing: children end, upgrades are asked for.
Seen SignalsWhileCrossing(FaultRun& run) {
  constexpr int kChildren = 20, kStorm = 200;
  UniqueFd gate(open(run.File("gate").c_str(), O_RDWR | O_CLOEXEC));
  run.Side(absl::StrCat("spawn ", kChildren));
  run.SetPlan("v2 upgrade rehydrate stop");
  run.BeginUpgrade(FaultRun::Program("v2"));
  run.AwaitStop();
  run.SetPlan("");
  gate.reset();
  for (int i = 0; i < kStorm; ++i) {
    kill(run.pid(), SIGHUP);
    kill(run.pid(), SIGCHLD);
    kill(run.pid(), SIGUSR1);
  }
  run.Go();
  const Seen seen = run.AwaitUpgrade();
  run.Expect(run.AwaitStat("child_exits", kChildren), "the end of a child was not reported");
  // The pending SIGHUP asks for another upgrade; pending signals of a number are one.
  run.Expect(run.AwaitStat("generation", 2), "a SIGHUP was lost");
  run.Expect(run.Stat("user_signals") >= 1, "a SIGUSR1 was lost");
  return seen;
}

Seen PeersCloseMeanwhile(FaultRun& run) {
  constexpr int kPeers = 50;
  const uint64_t before = run.Stat("clients");
  std::vector<UniqueFd> peers;
  for (int i = 0; i < kPeers; ++i) {
    auto peer = harness::Dial(run.endpoint());
    if (!peer.ok()) throw std::runtime_error(peer.status().ToString());
    peers.push_back(*std::move(peer));
  }
  run.Expect(run.AwaitStat("clients", before + kPeers), "a client was not accepted");
  run.SetPlan("v2 upgrade rehydrate stop");
  run.BeginUpgrade(FaultRun::Program("v2"));
  run.AwaitStop();
  for (size_t i = 0; i < peers.size(); i += 2) {
    const struct linger reset = {1, 0};
    setsockopt(peers[i].get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  peers.clear();
  run.Go();
  const Seen seen = run.AwaitUpgrade();
  run.Expect(run.AwaitStat("clients", before), "a connection that has ended is still there");
  return seen;
}

// Back by a day before the exec, ahead by a year after it.
Seen WallClockJumps(FaultRun& run) {
  constexpr int64_t kMinuteNs = 60'000'000'000;
  const Seen seen = WithPlan(run, "v1 * export jump -86400\nv2 upgrade rehydrate jump 31536000");
  const int64_t blackout_ns = run.entry().blackout_ns;
  run.Expect(blackout_ns > 0 && blackout_ns < kMinuteNs,
             absl::StrCat("the journal says the blackout took ", blackout_ns, " ns"));
  return seen;
}

// Connections come all the time, from before the upgrade until after it.
Seen ConnectionStorm(FaultRun& run) {
  std::atomic<bool> enough{false};
  std::atomic<uint64_t> failed{0}, served{0};
  std::thread storm([&] {
    while (!enough) {
      auto peer = harness::Dial(run.endpoint());
      char byte = 'x';
      const bool echoed = peer.ok() && write(peer->get(), &byte, 1) == 1 &&
                          read(peer->get(), &byte, 1) == 1 && byte == 'x';
      echoed ? ++served : ++failed;
    }
  });
  run.Expect(Eventually([&] { return served > 20; }), "the storm is not served");
  const Seen seen = run.Upgrade(FaultRun::Program("v2"));
  const uint64_t at_answer = served;
  run.Expect(Eventually([&] { return served > at_answer + 20; }),
             "the storm is not served any more");
  enough = true;
  storm.join();
  run.Expect(failed == 0, absl::StrCat(failed.load(), " connections of the storm failed"));
  run.AddEchoed(served);
  return seen;
}

// --- Exporting, sealing, sending ---

Seen SmallFileSizeLimit(FaultRun& run) {
  const SoftLimit small(run.pid(), RLIMIT_FSIZE, 4096);
  return run.Upgrade(FaultRun::Program("v2"));
}

uint64_t AddressSpaceOf(pid_t pid) {
  std::ifstream statm(absl::StrCat("/proc/", pid, "/statm"));
  uint64_t pages = 0;
  statm >> pages;
  return pages * static_cast<uint64_t>(getpagesize());
}

// `room` more than it has now. It may take some more, libc's arena for a thread, before the limit
// holds: then it is set again. Below what there is, whatever it does fails.
void LimitAddressSpace(pid_t pid, uint64_t room, std::optional<SoftLimit>& limit) {
  uint64_t allowed;
  do {
    limit.reset();
    allowed = AddressSpaceOf(pid) + room;
    limit.emplace(pid, RLIMIT_AS, allowed);
  } while (AddressSpaceOf(pid) > allowed);
}

// Somewhere on the way there is not enough: in the old program, the rehearsal or the new program.
// Without any even the request has no answer.
Seen ScarceAddressSpace(FaultRun& run) {
  constexpr uint64_t kStep = 8 << 20;
  for (uint64_t room = 0; room < 32 * kStep; room += kStep) {
    std::optional<SoftLimit> limit;
    LimitAddressSpace(run.pid(), room, limit);
    const Seen seen = run.Upgrade(run.CopyOf("v1"));
    const bool unanswered = room <= kStep && seen.code == "E_LOST";
    run.Expect(
        unanswered || absl::StrContains("A|B|C", seen.outcome),
        absl::StrCat("with ", room, " bytes: ", seen.outcome, " ", seen.code, " ", seen.message));
  }
  return run.Upgrade(run.CopyOf("v2"));
}

Seen SealIsBusy(FaultRun& run) {
  return WithInjection(run, {"fcntl", "F_ADD_SEALS"}, "error=EBUSY");
}

// The kernel claims to have written what it has not.
Seen WriteIsLost(FaultRun& run) { return WithInjection(run, "pwrite64:retval=8:when=2"); }

Seen KilledWhileExporting(FaultRun& run) {
  run.SetPlan("v1 fresh export stop");
  run.BeginUpgrade(FaultRun::Program("v2"));
  run.AwaitStop();
  run.Go();
  run.AwaitStop();
  kill(run.pid(), SIGKILL);
  Seen seen = run.AwaitUpgrade();
  if (seen.outcome == "?") seen.outcome = "D";
  return seen;
}

Seen ManyFds(FaultRun& run) {
  run.AddIdleClients(kManyClients);
  const Seen seen = run.Upgrade(FaultRun::Program("v2"));
  run.Expect(run.entry().fds >= kManyClients, "the journal counts too few fds");
  return seen;
}

Seen SecondBatchFails(FaultRun& run) {
  run.AddIdleClients(kManyClients);
  return WithInjection(run, "sendmsg:error=ENOBUFS:when=3");
}

Seen CarriesIoUring(FaultRun& run) {
  const Seen seen = WithPlan(run, "v1 * export carry-io-uring");
  if (seen.message.find("carry-io-uring:") != std::string::npos) {
    throw Skipped{"this kernel or sandbox has no io_uring: " + seen.message};
  }
  run.Side("drop");
  return seen;
}

// --- Executing ---

Seen SignalStorm(FaultRun& run) {
  std::atomic<bool> enough{false};
  std::thread storm([&] {
    while (!enough) kill(run.pid(), SIGUSR1);
  });
  const Seen seen = run.Upgrade(FaultRun::Program("v2"));
  enough = true;
  storm.join();
  return seen;
}

// Since the check, the fd table has been filled up: there is no number left for an image.
Seen FdTableFull(FaultRun& run) {
  run.SetPlan("v1 fresh export stop");
  run.BeginUpgrade(FaultRun::Program("v2"));
  run.AwaitStop();  // The snapshot for the rehearsal.
  run.Go();
  run.AwaitStop();
  const SoftLimit full(run.pid(), RLIMIT_NOFILE, 3);
  run.SetPlan("");
  run.Go();
  return run.AwaitUpgrade();
}

Cell Quiescing(const char* number, const char* name, Seen (*provoke)(FaultRun&)) {
  return {number, name, "A", "E_QUIESCE", provoke, Proof::kServes, "quiesce=2000"};
}

std::vector<Cell> QuiescingCells() {
  return {
      {"37", "ResumesWhenAComponentDoesNotQuiesce", "A", "E_QUIESCE",
       [](FaultRun& r) { return WithPlan(r, "v1 * quiesce error"); }},
      {"37", "ResumesWhenALoopIsStuck", "A", "E_QUIESCE", LoopIsStuck, Proof::kServes,
       "quiesce=2000,thread=1"},
      {"37", "ResumesWhenTheLastLoopIsStuck", "A", "E_QUIESCE", LastLoopIsStuck, Proof::kServes,
       "quiesce=2000,thread=1"},
      {"37", "ResumesWhenTheLastLoopIsStuckWithoutARehearsal", "A", "E_QUIESCE|E_TIMEOUT",
       LastLoopIsStuckWithoutARehearsal, Proof::kServes,
       "precopy=2000,quiesce=2000,thread=1,rehearse=0"},
      {"37", "TakesARequestUpWhenAStuckLoopTurns", "B", "", LoopTurnsAgain},
      Quiescing("38", "ResumesWhenTheThreadPoolIsStuck", PoolIsStuck),
      {"39", "LosesNoSignalOfAnOrdinaryHandler", "A", "E_CANCELLED",
       [](FaultRun& r) { return WithPlan(r, "v1 * export interrupt"); }},
      {"39", "StopsCleanlyAtSigtermInTheBlackout", "A", "E_CANCELLED", TerminatedWhileExporting,
       Proof::kStopped},
      {"40", "LosesNoSignalOfAStorm", "B", "", SignalsWhileCrossing},
      {"41", "LetsPeersCloseMeanwhile", "B", "", PeersCloseMeanwhile},
      {"42", "ResumesWhenQuiesceThrows", "A", "E_QUIESCE|E_EXCEPTION",
       [](FaultRun& r) { return WithPlan(r, "v1 * quiesce throw"); }},
      {"43", "DoesNotMindTheWallClock", "B", "", WallClockJumps},
      {"44", "ServesAConnectionStorm", "B", "", ConnectionStorm},
  };
}

std::vector<Cell> ExportingCells() {
  return {
      {"45", "ResumesWithoutMemoryForAnImage", "A", "E_MEMORY",
       [](FaultRun& r) { return WithInjection(r, "memfd_create:error=ENOMEM:when=1"); }},
      {"45", "ResumesWithoutSpaceForAnImage", "A", "E_MEMORY",
       [](FaultRun& r) { return WithInjection(r, "pwrite64:error=ENOSPC:when=1"); }},
      {"45", "ServesWhateverAddressSpaceThereIs", "B", "", ScarceAddressSpace, Proof::kServes,
       "pad=300000"},
      {"46", "ResumesUnderASmallFileSizeLimit", "A", "E_MEMORY", SmallFileSizeLimit, Proof::kServes,
       "rehearse=0,pad=100000"},
      {"46", "RefusesUnderASmallFileSizeLimit", "A", "E_MEMORY|E_REHEARSAL", SmallFileSizeLimit,
       Proof::kServes, "pad=100000"},
      {"47", "ResumesWithoutAnFdForAnImage", "A", "E_MEMORY",
       [](FaultRun& r) { return WithInjection(r, "memfd_create:error=EMFILE:when=2"); }},
      {"48", "ResumesWhenAnImageCannotBeSealed", "A", "E_MEMORY", SealIsBusy},
      {"49", "ResumesWhenAnExporterFails", "A", "E_EXPORT",
       [](FaultRun& r) { return WithPlan(r, "v1 * export error"); }, Proof::kServes, "rehearse=0"},
      {"49", "ResumesWhenResidentMemoryIsInTheMiddleOfAnUpdate", "A", "E_TORN",
       [](FaultRun& r) { return WithPlan(r, "v1 * quiesce torn"); }},
      {"49", "ResumesWhenAnExporterThrows", "A", "E_EXPORT|E_EXCEPTION",
       [](FaultRun& r) { return WithPlan(r, "v1 * export throw"); }, Proof::kServes, "rehearse=0"},
      {"49", "RefusesWhenAnExporterFailsInTheRehearsal", "A", "E_EXPORT",
       [](FaultRun& r) { return WithPlan(r, "v1 * export error"); }},
      {"50", "ResumesWhenTheStateIsTooLarge", "A", "E_EXPORT|E_EXCEPTION",
       [](FaultRun& r) { return WithPlan(r, "v1 * export huge"); }, Proof::kServes, "rehearse=0"},
      {"51", "ResumesWhenAnImageReadsBackDifferently", "A", "E_CHECKSUM", WriteIsLost},
      {"52", "IsLostWhenKilledBeforeTheSeal", "D", "E_LOST", KilledWhileExporting, Proof::kLost},
  };
}

std::vector<Cell> SendingCells() {
  return {
      {"53", "ResumesWhenTheChannelIsFull", "A", "E_FDPUSH",
       [](FaultRun& r) { return WithInjection(r, "sendmsg:error=EAGAIN:when=2"); }},
      {"54", "ResumesWhenTooManyFdsAreInFlight", "A", "E_FDPUSH",
       [](FaultRun& r) { return WithInjection(r, "sendmsg:error=ETOOMANYREFS:when=2"); }},
      {"55", "SplitsManyFds", "B", "", ManyFds},
      {"56", "RefusesToCarryAnIoUring", "A", "E_FD", CarriesIoUring},
      {"57", "RefusesToCarryTheChannelItself", "A", "E_FD",
       [](FaultRun& r) { return WithPlan(r, "v1 * export carry-channel"); }},
      {"58", "KeepsEveryFdWhenASendFails", "A", "E_FDPUSH", SecondBatchFails},
  };
}

std::vector<Cell> ExecutingCells() {
  return {
      {"59", "ResumesAfterALateEnoent", "A", "E_EXEC",
       [](FaultRun& r) { return WithInjection(r, "execveat:error=ENOENT:when=1"); }},
      {"59", "ResumesAfterALateEnoexec", "A", "E_EXEC",
       [](FaultRun& r) { return WithInjection(r, "execveat:error=ENOEXEC:when=1"); }},
      {"59", "ResumesAfterALateE2big", "A", "E_EXEC",
       [](FaultRun& r) { return WithInjection(r, "execveat:error=E2BIG:when=1"); }},
      {"60", "ResumesWhenExecSaysEagain", "A", "E_EXEC",
       [](FaultRun& r) { return WithInjection(r, "execveat:error=EAGAIN:when=1"); }},
      {"61", "ResumesWhenASecurityModuleRefuses", "A", "E_EXEC",
       [](FaultRun& r) { return WithInjection(r, "execveat:error=EACCES:when=1"); }},
      {"62", "SurvivesASignalStorm", "B", "", SignalStorm},
      {"63", "ResumesWhenTheFdTableIsFull", "A", "E_MEMORY", FdTableFull},
  };
}

}  // namespace

std::vector<Cell> BlackoutCells() {
  std::vector<Cell> all;
  for (const auto& some : {QuiescingCells(), ExportingCells(), SendingCells(), ExecutingCells()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace liveexec::faults
