// FaultRun: a victim under load, everything that can be done to it, and the proof that nobody was
// hurt.
//
//   FaultRun run({.threads = 4});
//   run.SetPlan("bad upgrade rehydrate segv");
//   Seen seen = run.Upgrade(run.Program("bad"));     // C, E_CRASH
//   run.Prove(Proof::kServes);
//   run.problems();                                  // empty
//
// What must work for a test to make sense throws std::runtime_error; what must hold for the
// framework to be right becomes a problem. One thread, except for the clients' and the requester's.
#ifndef LIVEEXEC_TESTS_FAULTS_FAULT_RUN_H_
#define LIVEEXEC_TESTS_FAULTS_FAULT_RUN_H_

#include <sys/resource.h>

#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "handoff/control_client.h"
#include "tests/faults/cell.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/server_under_test.h"
#include "tests/harness/snapshot.h"

namespace liveexec::faults {

// Thrown by a cell that this machine cannot run.
struct Skipped {
  std::string why;
};

struct FaultRunOptions {
  int threads = 1;
  std::string victim = "";  // options of the victim
  std::string role = "v1";  // which program is started
  // "restart" or "patient": it runs under a supervisor (supervisor.cc); empty: under the test
  // itself.
  std::string supervisor = "";
  int idle = 3;      // clients that only prove to be there
  int checking = 2;  // clients that send all the time
  absl::Duration next_blackout =
      absl::ZeroDuration();  // that the last upgrade may take; 0: default
};

// Where the victim has stopped, according to plan.
struct Stop {
  pid_t pid = 0;
  std::string point, mode;
};

class FaultRun {
 public:
  explicit FaultRun(const FaultRunOptions& options);
  ~FaultRun();
  FaultRun(const FaultRun&) = delete;
  FaultRun& operator=(const FaultRun&) = delete;

  // The program, as it was built; a copy of it of the test's own, which may be changed.
  static std::string Program(const std::string& role);
  std::string CopyOf(const std::string& role);
  // The copy with one string replaced by another of the same length, everywhere.
  std::string PatchedCopyOf(const std::string& role, const std::string& from,
                            const std::string& to);
  std::string File(std::string_view name) const { return server_->File(name); }
  std::string ControlSocket() const { return File("run/control"); }

  // See victim/misbehaviour.h. Replaces the plan.
  void SetPlan(const std::string& lines);
  // Waits until the victim, or the candidate, stops; lets one that has stopped go on.
  Stop AwaitStop();
  void Go();

  // Asks through the control socket, and waits for the answer.
  Seen Upgrade(const std::string& binary);
  Seen Upgrade(const ControlUpgrade& request);
  // The same in two steps.
  void BeginUpgrade(const std::string& binary);
  Seen AwaitUpgrade();
  // Whether AwaitUpgrade would return at once.
  bool HasAnswer();
  // What the journal has of the newest upgrade.
  Seen LastUpgrade();
  std::vector<JournalEntry> History();
  // The entry that the last answer was.
  const JournalEntry& entry() const { return entry_; }

  // A line at the side port, and its answer.
  std::string Side(const std::string& line);
  // Its statistics: "role" to "v1".
  std::map<std::string, std::string> Stats();
  uint64_t Stat(const std::string& name);
  // Waits until a statistic has the value; false after a while.
  bool AwaitStat(const std::string& name, uint64_t value);

  // What the server is compared with at the end; taken at the start, too.
  void TakeBaseline();
  // After a supervisor has started the server again: other clients, another process to compare
  // with.
  void BeginAnew();
  // More clients, which count for the proof; before the first upgrade.
  void AddIdleClients(int count);

  harness::ServerUnderTest& server() { return *server_; }
  harness::Endpoint endpoint() const { return harness::Endpoint::Tcp(server_->port()); }
  harness::ClientSwarm& clients() { return *swarm_; }
  int threads() const { return options_.threads; }
  // Of the server now, also after a resurrection.
  pid_t pid() const { return pid_; }
  void set_pid(pid_t pid) { pid_ = pid; }
  // The process that guards the crossing that is under way; 0: there is none.
  pid_t CustodianPid();

  int64_t ResidentBytes();
  // The directories in which the server says that it has kept its state.
  std::vector<std::string> Wreckage() const;

  // Adds a problem unless `condition`.
  void Expect(bool condition, const std::string& problem);
  const std::vector<std::string>& problems() const { return problems_; }
  // Bytes that the victim echoed to others than the swarm.
  void AddEchoed(uint64_t bytes) { echoed_to_others_ += bytes; }

  // The proofs. Each is a run's last call.
  void Prove(Proof proof);
  // Only that the clients are served as if nothing had happened; may be called in between.
  void ProveClients();
  // Keeps the server's directory, and prints its output.
  void KeepLog() { server_->KeepLog(); }

 private:
  Seen ToSeen(const absl::StatusOr<JournalEntry>& answer);
  void MakeFifos();
  void StartSwarm(int idle);
  std::vector<std::string> Drift();
  void ProveUnchanged();
  void ProveNextUpgrade();
  void ProveNothingLost();
  void ProveStops();
  void ProveLost();

  const FaultRunOptions options_;
  std::unique_ptr<harness::ServerUnderTest> server_;
  std::unique_ptr<harness::ClientSwarm> swarm_;
  UniqueFd events_, go_;
  std::string stops_;  // read from events_
  std::future<absl::StatusOr<JournalEntry>> answer_;
  JournalEntry entry_;
  pid_t first_pid_ = 0;  // which it keeps, unless it is resurrected
  pid_t pid_ = 0;
  harness::Snapshot before_;
  uint64_t echoed_to_others_ = 0;
  int copies_ = 0;
  std::vector<std::string> problems_;
};

// A soft limit of another process, until the end of the scope. Skipped: it is not permitted.
class SoftLimit {
 public:
  SoftLimit(pid_t pid, __rlimit_resource resource, rlim_t limit);
  ~SoftLimit();
  SoftLimit(const SoftLimit&) = delete;
  SoftLimit& operator=(const SoftLimit&) = delete;

 private:
  pid_t pid_;
  __rlimit_resource resource_;
  struct rlimit before_;
};

// Runs `condition` again and again until it holds, for what no event tells of: another process's
// state. False after `timeout`.
bool Eventually(const std::function<bool()>& condition, absl::Duration timeout = absl::Seconds(20));

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_FAULT_RUN_H_
