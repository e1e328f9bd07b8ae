// The victim's own component: what a server has besides its connections, and where most of its
// misbehaviour happens.
#ifndef LIVEEXEC_TESTS_FAULTS_VICTIM_STATE_H_
#define LIVEEXEC_TESTS_FAULTS_VICTIM_STATE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/resident_memory.h"

namespace liveexec::faults {

// Registered last: exported, rehydrated and activated after all the others.
class State final : public Component {
 public:
  // `memory`, borrowed: made and checked, and spoilt according to plan, with the state. `pad`:
  // bytes that the state is to have besides. `on_activate` tells the test. `pause`: calls
  // PauseIfTraced when a crossing has ended, one way or another.
  State(size_t pad, bool pause, ResidentMemory& memory, std::function<void()> on_activate)
      : pad_(pad), pause_(pause), memory_(memory), on_activate_(std::move(on_activate)) {}

  std::string_view name() const override { return "state"; }
  absl::Status Initialize() override;
  absl::Status Quiesce() override;
  absl::Status Export(ExportContext& context) const override;
  void Resume() override;
  absl::Status Rehydrate(ImportContext& context) override;
  absl::Status SelfCheck() override;
  void Activate() override;

  // Closes what the plan had it open: main thread.
  void DropSpecial() { special_.reset(); }

  // Any thread.
  std::atomic<uint64_t> echoed{0};
  std::atomic<uint64_t> child_exits{0};
  std::atomic<uint64_t> user_signals{0};
  std::atomic<uint64_t> side_requests{0};
  std::atomic<uint64_t> pool_works{0};  // that have ended; not carried

 private:
  absl::Status ExportByPlan(ExportContext& context) const;
  void FillMemory();
  absl::Status CheckMemory() const;
  void WriteEarly(std::string_view point);
  void ActivateByPlan();

  size_t pad_;
  bool pause_;
  bool refuse_ = false;     // the next upgrade
  ResidentMemory& memory_;  // each shard's root is a map that FillMemory made
  std::string carried_pad_;
  std::function<void()> on_activate_;
  UniqueFd file_;             // locked: fcntl, and flock
  mutable UniqueFd special_;  // what the plan wants carried besides
};

}  // namespace liveexec::faults

#endif  // LIVEEXEC_TESTS_FAULTS_VICTIM_STATE_H_
