// UpgraderImpl: the one Upgrader that there is. For upgrader*.cc alone.
//
// upgrader.cc brings it up, in a fresh program and after an upgrade, and answers what the control
// socket asks; upgrader_attempt.cc takes one attempt from its request to the blackout, or to its
// being abandoned. Three threads have parts in that: the conductor, where requests arrive, the
// preparing thread, one for each attempt, and the main thread, which crosses.
#ifndef LIVEEXEC_HANDOFF_UPGRADER_IMPL_H_
#define LIVEEXEC_HANDOFF_UPGRADER_IMPL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "handoff/attempt.h"
#include "handoff/conductor.h"
#include "handoff/control_server.h"
#include "handoff/inheritance.h"
#include "handoff/phase.h"
#include "handoff/program.h"
#include "handoff/supervision.h"
#include "handoff/upgrader.h"

namespace liveexec {

class UpgraderImpl final : public Upgrader {
 public:
  UpgraderImpl(Executor& main, UpgraderOptions options)
      : program_(Syscalls::Kernel(), main), inheritance_(ProcessInheritance()) {
    program_.options = std::move(options);
  }
  ~UpgraderImpl() override;

  absl::Status Initialize();

  bool fresh() const override { return inheritance_.mode == StartMode::kFresh; }
  absl::Status Register(Component& component) override;
  void AddThread(Executor& executor) override;
  void RemoveThread(Executor& executor) override;
  absl::Status Start() override;
  void Request(UpgradeRequest request, Done done) override;
  Journal journal() const override {
    std::lock_guard lock(program_.mutex);
    return program_.journal;
  }
  uint64_t last_upgrade() const override {
    std::lock_guard lock(program_.mutex);
    const auto& entries = program_.journal.entries();
    return entries.empty() ? 0 : entries.back().upgrade;
  }
  uint64_t generation() const override { return program_.generation; }

 private:
  absl::Status StartFresh();
  absl::Status WithWreckage(const absl::Status& status);
  absl::Status MakeConductor();
  void StartConductor();
  void TellOfArrival();
  void AnswerWaiting(const JournalEntry& entry);
  void Reap();
  static absl::Status Busy();
  static absl::Status Cancelled();
  static absl::Status DidNotStop();
  ControlServer::Handlers MakeHandlers();
  ControlStatus Status();
  std::vector<JournalEntry> History(uint32_t limit);
  absl::Status Cancel();

  // In the conductor. Whatever there is no memory for ends the attempt, or is left out of what is
  // told of it; the next attempt can begin.
  absl::Status Begin(std::unique_ptr<Attempt> attempt);
  void StartPreparing();
  void Observe(uint64_t requester, Phase phase);
  void Prepared();
  void WaitForBlackout();
  void EnterBlackoutWhenDrained(const std::shared_ptr<BlackoutTicket>& ticket);
  void Abandon(const absl::Status& status);
  void BeIdle();
  void Tell(const JournalEntry& entry, uint64_t requester, Done done);
  // On the main thread.
  void EnterBlackout(const std::shared_ptr<BlackoutTicket>& ticket);

  Program program_;
  Supervision supervision_{program_};
  const Inheritance& inheritance_;
  std::unique_ptr<ControlServer> control_;
  std::unique_ptr<Conductor> conductor_;
  bool started_ = false;
  std::atomic<uint32_t> threads_{1};

  // In the conductor only.
  bool busy_ = false;
  std::shared_ptr<BlackoutTicket> ticket_;   // of the attempt under way
  std::shared_ptr<BlackoutTicket> waiting_;  // of the attempt that waits for its blackout
  uint64_t deadline_ = 0;                    // the timer for its quiescing
  std::thread preparing_;
  std::atomic<uint8_t> phase_{0};  // for status

  // For tasks on the main thread that may come too late; main thread only.
  std::shared_ptr<bool> existence_ = std::make_shared<bool>(true);

  // The attempt under way, and how its last stage ended: of whichever thread has that stage.
  std::unique_ptr<Attempt> attempt_;
  absl::Status outcome_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_UPGRADER_IMPL_H_
