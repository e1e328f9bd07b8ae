#include "tests/faults/sweep.h"

#include <algorithm>
#include <csignal>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/faults/call_trace.h"
#include "tests/faults/fault_run.h"
#include "tests/faults/tracer.h"
#include "tests/harness/random.h"

namespace liveexec::faults {
namespace {

// Deadlines short enough for calls that are all late by a second.
constexpr char kVictim[] = "pause=1,quiesce=4000,budget=4000,rehearsal=4000,rehydrate=4000";
constexpr const char* kErrors[] = {"error=EIO", "error=ENOMEM", "error=EMFILE", "error=EINTR"};
constexpr char kLate[] = "delay_enter=1000000";
constexpr char kKill[] = "signal=KILL";

// Calls that no error comes from, and those whose impossible errors libc answers with abort().
bool CanFail(const std::string& call) {
  static const auto* const calls = new std::set<std::string>{
      "exit", "exit_group", "rt_sigreturn", "restart_syscall", "futex", "getpid", "gettid",
  };
  return calls->count(call) == 0;
}

FaultRunOptions QuietRun(int threads) {
  return {.threads = threads, .victim = kVictim, .checking = 0};
}

const char* NameOf(Actor actor) {
  switch (actor) {
    case Actor::kMain:
      return "the main thread";
    case Actor::kPreparing:
      return "the preparing thread";
    case Actor::kCandidate:
      return "the rehearsal";
  }
  return "";
}

std::set<pid_t> ThreadsOf(pid_t pid) {
  std::set<pid_t> threads;
  for (const auto& entry :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/task"))) {
    pid_t thread;
    if (absl::SimpleAtoi(entry.path().filename().string(), &thread)) threads.insert(thread);
  }
  return threads;
}

// Begins an upgrade to v2 and brings it to where the actor can be traced; returns whom to trace.
pid_t BeginFor(Actor actor, FaultRun& run) {
  if (actor == Actor::kMain) return run.pid();
  const std::set<pid_t> before = ThreadsOf(run.pid());
  run.SetPlan(actor == Actor::kPreparing ? "v1 fresh export stop" : "v2 rehearsal static stop");
  run.BeginUpgrade(FaultRun::Program("v2"));
  const Stop stop = run.AwaitStop();
  run.SetPlan("");
  if (actor == Actor::kCandidate) return stop.pid;
  for (pid_t thread : ThreadsOf(run.pid())) {
    if (before.count(thread) == 0) return thread;
  }
  throw std::runtime_error("there is no preparing thread");
}

// Waits until the crossing is over, lets the server go on without being traced, and returns what
// strace has seen.
std::vector<std::string> FollowToTheEnd(Actor actor, FaultRun& run, Tracer& tracer) {
  if (actor == Actor::kMain) {
    run.BeginUpgrade(FaultRun::Program("v2"));
  } else {
    run.Go();
  }
  // The victim stops itself when the crossing has ended; an upgrade that never came to it has an
  // answer; a process that died has no more calls.
  while (!tracer.WaitFor("stopped by SIGSTOP", absl::Milliseconds(20)) && !tracer.ended() &&
         !run.HasAnswer()) {
  }
  std::vector<std::string> lines = tracer.Detach();
  kill(run.pid(), SIGCONT);
  return lines;
}

// The calls of a normal crossing by this actor.
std::vector<TracedCall> TraceNormal(Actor actor, int threads) {
  FaultRun run(QuietRun(threads));
  Tracer tracer(BeginFor(actor, run), {}, Tracer::kMainThread);
  std::vector<TracedCall> calls = ParseTrace(FollowToTheEnd(actor, run, tracer));
  const Seen seen = run.AwaitUpgrade();
  if (seen.outcome != "B") throw std::runtime_error("a normal upgrade fails: " + seen.message);
  return calls;
}

bool IsWait(const TracedCall& call) { return absl::StartsWith(call.call, "epoll_"); }

// Of the main thread only the callback in which the crossing happens: [begin, end) in `calls`.
std::pair<size_t, size_t> CrossingOf(const std::vector<TracedCall>& calls) {
  const auto exec = std::find_if(calls.begin(), calls.end(),
                                 [](const TracedCall& call) { return call.call == "execveat"; });
  if (exec == calls.end()) throw std::runtime_error("a normal upgrade without execveat");
  auto begin = exec;
  while (begin != calls.begin() && !(IsWait(*begin) && begin->call != "epoll_ctl")) --begin;
  auto end = std::find_if(exec, calls.end(), [](const TracedCall& call) {
    return call.call == "epoll_wait" || call.call == "epoll_pwait" || call.call == "tgkill";
  });
  return {static_cast<size_t>(begin - calls.begin()) + 1, static_cast<size_t>(end - calls.begin())};
}

// Where in a normal crossing the seal and the commit are, as indexes in its calls.
struct Landmarks {
  size_t seal = SIZE_MAX, commit = SIZE_MAX;
};

Landmarks LandmarksOf(const std::vector<TracedCall>& calls) {
  Landmarks marks;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (calls[i].call == "sendmsg" && marks.commit == SIZE_MAX) marks.seal = i + 1;
    // Disarming comes first in the commit.
    if (calls[i].call == "timer_delete" && marks.commit == SIZE_MAX) marks.commit = i;
  }
  return marks;
}

// The faults of one call: the `ordinal`-th of its name, of which there are `last`.
void AddFaults(Fault fault, int ordinal, int last, std::vector<Fault>& faults) {
  fault.first = fault.last = ordinal;
  for (const char* error : kErrors) {
    fault.what = error;
    if (CanFail(fault.call)) faults.push_back(fault);
  }
  fault.what = kLate;
  faults.push_back(fault);
  fault.what = kKill;
  if (fault.actor != Actor::kPreparing) faults.push_back(fault);
  if (ordinal == last || !CanFail(fault.call)) return;
  fault.last = last;
  for (const char* error : kErrors) {
    fault.what = error;
    faults.push_back(fault);
  }
  fault.what = kLate;
  if (ordinal == 1) faults.push_back(fault);
}

void PlanFor(Actor actor, int threads, std::vector<Fault>& faults) {
  const std::vector<TracedCall> calls = TraceNormal(actor, threads);
  const auto [begin, end] =
      actor == Actor::kMain ? CrossingOf(calls) : std::pair<size_t, size_t>(0, calls.size());
  const Landmarks marks = LandmarksOf(calls);
  std::map<std::string, int> last, seen;
  for (size_t i = 0; i < end; ++i) ++last[calls[i].call];
  for (size_t i = 0; i < end; ++i) {
    const int ordinal = ++seen[calls[i].call];
    if (i < begin) continue;
    const Fault fault{.actor = actor,
                      .call = calls[i].call,
                      .sealed = actor == Actor::kMain && i >= marks.seal,
                      .committed = actor == Actor::kMain && i >= marks.commit};
    AddFaults(fault, ordinal, last[calls[i].call], faults);
  }
}

// What a fault may end as.
std::string Promise(const Fault& fault) {
  if (fault.what != kKill) return fault.actor == Actor::kMain ? "A|B|C|R" : "A|B";
  if (fault.actor == Actor::kCandidate) return "A";
  return fault.sealed && !fault.committed ? "R" : "D";
}

void Play(const Fault& fault, FaultRun& run, CellResult& result) {
  Tracer tracer(BeginFor(fault.actor, run),
                {"-e", "trace=" + fault.call + ",tgkill", "-e",
                 absl::StrCat("inject=", fault.call, ":", fault.what, ":when=", fault.first, "..",
                              fault.last)},
                Tracer::kMainThread);
  FollowToTheEnd(fault.actor, run, tracer);
  result.seen = run.AwaitUpgrade();
  Seen& seen = result.seen;
  if (seen.outcome == "?" || (fault.what == kKill && result.promised == "D")) seen.outcome = "D";
  run.Expect(absl::StrContains(result.promised, seen.outcome),
             absl::StrCat("promised ", result.promised, ", seen ", seen.outcome, " ", seen.code,
                          " ", seen.message));
  run.Prove(seen.outcome == "D" ? Proof::kLost : Proof::kServes);
}

}  // namespace

std::string Fault::Name() const {
  return absl::StrCat(call, " ", what, " ", first, first == last ? "" : absl::StrCat("..", last),
                      " of ", NameOf(actor));
}

std::vector<Fault> PlanSweep(int threads) {
  std::vector<Fault> faults;
  for (Actor actor : {Actor::kMain, Actor::kPreparing, Actor::kCandidate}) {
    PlanFor(actor, threads, faults);
  }
  return faults;
}

CellResult RunFault(const Fault& fault, int threads) {
  CellResult result{
      .cell = "sweep " + fault.Name(), .threads = threads, .promised = Promise(fault)};
  try {
    FaultRun run(QuietRun(threads));
    try {
      Play(fault, run, result);
    } catch (const std::exception& error) {
      result.problems.push_back(error.what());
    }
    for (const std::string& problem : run.problems()) result.problems.push_back(problem);
    if (!result.ok()) run.KeepLog();
  } catch (const std::exception& error) {
    result.problems.push_back(error.what());
  }
  return result;
}

std::vector<Fault> Sample(std::vector<Fault> faults, size_t count, uint64_t seed) {
  harness::Random random(seed);
  for (size_t i = 0; i < faults.size(); ++i) {
    std::swap(faults[i], faults[i + random.Below(faults.size() - i)]);
  }
  faults.resize(std::min(faults.size(), count));
  return faults;
}

}  // namespace liveexec::faults
