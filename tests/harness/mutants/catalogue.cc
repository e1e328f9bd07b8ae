#include "tests/harness/mutants/catalogue.h"

#include "absl/strings/str_cat.h"
#include "tests/harness/torture/command_line.h"
#include "tests/harness/torture/torture_run.h"

namespace liveexec::harness {

namespace {

class Silent final : public TortureObserver {
  void OnStep(const std::string&) override {}
  void OnUpgrade(const UpgradeOutcome&) override {}
};

TortureOptions OptionsFor(const Programs& programs, const Mutant& mutant, uint64_t seed) {
  TortureOptions options;
  options.name = mutant.name();
  options.program = programs.Torture();
  if (mutant.server == "echo") {
    options.server =
        absl::StrCat(programs.Echo(), " {port} {dir}/run/control --mutant ", mutant.fault);
    options.dialogue = Dialogue::kEcho;
  } else {
    options.server = absl::StrCat(programs.Demo(), " --mutant ", mutant.fault,
                                  " --port {port} --control {dir}/run/control");
    options.dialogue = Dialogue::kResp;
  }
  options.upgrade = "liveexec";
  options.liveexec = programs.Liveexec();
  options.clients = 6;
  options.idle = 8;
  options.upgrades = 3;
  options.patience_s = 10;
  options.seed = seed;
  options.keep_log = false;
  return options;
}

}  // namespace

const std::vector<Mutant>& Mutants() {
  static const std::vector<Mutant> mutants = {
      {"echo", "none", Verdict::kInvisible},
      {"demo", "none", Verdict::kInvisible},
      {"echo", "drop-connection", Verdict::kConnectionLost},
      {"echo", "lose-byte", Verdict::kByteLost},
      {"echo", "double-byte", Verdict::kByteDoubled},
      {"echo", "alter-byte", Verdict::kByteForeign},
      {"echo", "reorder", Verdict::kByteReordered},
      {"echo", "fall-silent", Verdict::kReplyMissing},
      {"echo", "reset-accept-queue", Verdict::kConnectionRefused},
      {"echo", "close-listener", Verdict::kConnectionRefused},
      {"echo", "stall", Verdict::kStalled},
      {"echo", "change-pid", Verdict::kPidChanged},
      {"echo", "crash", Verdict::kServerDied},
      {"echo", "refuse-upgrade", Verdict::kUpgradeFailed},
      {"echo", "leak-fd", Verdict::kFdLeaked},
      {"echo", "leak-memory", Verdict::kMemoryLeaked},
      {"echo", "leak-thread", Verdict::kThreadLeaked},
      {"echo", "forget-child", Verdict::kChildForgotten},
      {"echo", "lose-lock", Verdict::kLockLost},
      {"echo", "change-limits", Verdict::kProcessChanged},
      {"demo", "answer-twice", Verdict::kAnsweredTwice},
      {"demo", "lose-write", Verdict::kWriteLost},
      {"demo", "stale-write", Verdict::kWriteLost},
      {"demo", "double-write", Verdict::kWriteDoubled},
      {"demo", "forget-timer", Verdict::kTimerForgotten},
      {"demo", "forget-subscription", Verdict::kMessageLost},
      {"demo", "stall", Verdict::kStalled},
      {"demo", "leak-fd", Verdict::kFdLeaked},
      {"demo", "leak-memory", Verdict::kMemoryLeaked},
      {"demo", "forget-child", Verdict::kChildForgotten},
  };
  return mutants;
}

absl::StatusOr<TortureResult> TryMutant(const Programs& programs, const Mutant& mutant,
                                        uint64_t seed) {
  Silent silent;
  return TortureRun(OptionsFor(programs, mutant, seed), silent).Run();
}

}  // namespace liveexec::harness
