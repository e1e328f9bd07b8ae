#include "tests/faults/sweep.h"

#include <algorithm>
#include <csignal>
#include <exception>
#include <filesystem>
#include <initializer_list>
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

// Deadlines that no stall of the machine reaches; and those for calls that are all late by a
// second, whose sum must not be waited for.
constexpr char kVictim[] = "pause=1,quiesce=40000,budget=40000,rehearsal=40000,rehydrate=40000";
constexpr char kHastyVictim[] =
    "pause=1,quiesce=12000,budget=12000,rehearsal=12000,rehydrate=12000";
constexpr std::initializer_list<const char*> kErrors = {"error=EIO", "error=ENOMEM", "error=EMFILE",
                                                        "error=EINTR"};
// The kernel's brk() has no errors: it returns the break, which has not moved.
constexpr std::initializer_list<const char*> kBreakErrors = {"retval=0"};
constexpr char kLate[] = "delay_enter=1000000";
constexpr char kKill[] = "signal=KILL";

// Calls that no error comes from, or none but for bad arguments; those whose impossible errors libc
// answers with abort(); and close(), which lets go of the fd whatever it returns, whereas strace
// can only keep it from being called at all.
bool CanFail(const std::string& call) {
  static const auto* const calls = new std::set<std::string>{
      "exit",  "exit_group", "rt_sigreturn", "rt_sigaction", "rt_sigprocmask", "restart_syscall",
      "futex", "getpid",     "gettid",       "close",        "clock_gettime",
  };
  return calls->count(call) == 0;
}

FaultRunOptions QuietRun(int threads, const char* victim) {
  // The next upgrade is predicted to take as long as the last: with calls that are late, too long.
  return {.threads = threads, .victim = victim, .checking = 0, .next_blackout = absl::Minutes(5)};
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

// Calls after whose failure libuv calls abort(), in a program that nobody guards: the read of its
// own wake-up eventfd that begins the callback of the crossing (it reads as much as its buffer
// holds, where others read the eight bytes that there are), the write to it by which the preparing
// thread wakes the loop, and, after the commit, what it adds to its epoll set. Nothing of this
// project runs in between, so that there is nothing to promise.
bool IsLibuvs(Actor actor, const TracedCall& call, bool committed) {
  if (call.call == "epoll_ctl") return committed;
  if (!absl::StrContains(call.line, "<anon_inode:[eventfd]>")) return false;
  if (call.call == "write") return actor == Actor::kPreparing;
  return call.call == "read" && absl::StrContains(call.line, ", 1024)");
}

// Disarming is the first thing that a program does when it commits.
bool IsCommit(const TracedCall& call) { return call.call == "timer_delete"; }

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
std::vector<std::string> FollowToTheEnd(Actor actor, FaultRun& run, Tracer& tracer,
                                        std::string_view fault = "") {
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
  // The requester may learn of the process's end before strace has written of it.
  if (fault == kKill) tracer.WaitFor("killed by SIGKILL", absl::Seconds(1));
  std::vector<std::string> lines = tracer.Detach();
  kill(run.pid(), SIGCONT);
  return lines;
}

// The calls of a normal crossing by this actor.
std::vector<TracedCall> TraceNormal(Actor actor, int threads) {
  FaultRun run(QuietRun(threads, kVictim));
  Tracer tracer(BeginFor(actor, run), {"-y"}, Tracer::kMainThread);
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

// Whether the call put fds into a channel.
bool IsMessage(const TracedCall& call) {
  return call.call == "sendmsg" && absl::EndsWith(call.line, " = 1");
}

// One actor's calls of one name.
struct Calls {
  int last = 0;             // their number
  std::vector<int> spared;  // those that are not made to fail, ascending
};

// The faults of a call: the `ordinal`-th of its name.
void AddFaults(Fault fault, int ordinal, const Calls& calls, std::vector<Fault>& faults) {
  fault.first = fault.last = ordinal;
  const auto add = [&](std::initializer_list<const char*> whats) {
    for (const char* what : whats) {
      fault.what = what;
      faults.push_back(fault);
    }
  };
  const auto spared = std::lower_bound(calls.spared.begin(), calls.spared.end(), ordinal);
  const int last_to_fail = spared == calls.spared.end() ? calls.last : *spared - 1;
  const bool can_fail = CanFail(fault.call) && last_to_fail >= ordinal;
  const auto& errors = fault.call == "brk" ? kBreakErrors : kErrors;
  if (can_fail) add(errors);
  add({kLate});
  if (fault.actor != Actor::kPreparing) add({kKill});
  fault.last = last_to_fail;
  if (can_fail && last_to_fail > ordinal) add(errors);
  fault.last = calls.last;
  if (ordinal == 1 && calls.last > 1) add({kLate});
}

void PlanFor(Actor actor, int threads, std::vector<Fault>& faults) {
  const std::vector<TracedCall> traced = TraceNormal(actor, threads);
  const auto [begin, end] =
      actor == Actor::kMain ? CrossingOf(traced) : std::pair<size_t, size_t>(0, traced.size());
  int messages = 0;
  bool committed = false;
  std::map<std::string, Calls> all;
  for (size_t i = 0; i < end; ++i) {
    Calls& calls = all[traced[i].call];
    ++calls.last;
    committed = committed || IsCommit(traced[i]);
    if (IsLibuvs(actor, traced[i], committed)) calls.spared.push_back(calls.last);
    if (IsMessage(traced[i])) ++messages;
  }
  std::map<std::string, int> seen;
  bool executed = false, loaded = false;
  for (size_t i = 0; i < end; ++i) {
    const int ordinal = ++seen[traced[i].call];
    executed = executed || (actor == Actor::kMain && traced[i].call == "execveat");
    // The first thing that a loaded program does is to look into the channel.
    loaded = loaded || (executed && traced[i].call == "setsockopt");
    if (i < begin) continue;
    const Fault fault{
        .actor = actor, .call = traced[i].call, .messages = messages, .loaded = loaded};
    AddFaults(fault, ordinal, all[traced[i].call], faults);
  }
}

// What a fault may end as, given what strace saw of the process that it happened to.
std::string Promise(const Fault& fault, const std::vector<std::string>& lines) {
  const auto is_the_end = [](const std::string& line) {
    return absl::StrContains(line, "killed by SIGKILL");
  };
  const bool killed = std::any_of(lines.begin(), lines.end(), is_the_end);
  if (fault.actor == Actor::kCandidate && killed) return "A";
  if (fault.actor != Actor::kMain) return "A|B";
  // Until the loader is done nobody can go back; and what fails again and again fails that, too.
  const bool one_error = fault.first == fault.last && fault.what != kLate;
  if (fault.loaded && one_error && !killed) return "B|C";
  if (fault.what != kKill || !killed) return "A|B|C|R";
  const std::vector<TracedCall> calls = ParseTrace(lines);
  const bool sealed = std::count_if(calls.begin(), calls.end(), IsMessage) >= fault.messages;
  const bool committed = std::any_of(calls.begin(), calls.end(), IsCommit);
  return sealed && !committed ? "R" : "D";
}

void Play(const Fault& fault, FaultRun& run, CellResult& result) {
  Tracer tracer(BeginFor(fault.actor, run),
                {"-e", "trace=tgkill,sendmsg,timer_delete," + fault.call, "-e",
                 absl::StrCat("inject=", fault.call, ":", fault.what, ":when=", fault.first, "..",
                              fault.last)},
                Tracer::kMainThread);
  result.promised = Promise(fault, FollowToTheEnd(fault.actor, run, tracer, fault.what));
  result.seen = run.AwaitUpgrade();
  Seen& seen = result.seen;
  // An answer may come before the end.
  if (seen.outcome == "?" || result.promised == "D") seen.outcome = "D";
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
  CellResult result{.cell = "sweep " + fault.Name(), .threads = threads, .promised = "A|B|C|R"};
  try {
    const bool all_late = fault.what == kLate && fault.last > fault.first;
    FaultRun run(QuietRun(threads, all_late ? kHastyVictim : kVictim));
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
