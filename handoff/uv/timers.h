// Timers: timers with absolute deadlines, which an upgrade neither loses nor restarts.
//
//   Timers timers("timers", executor);
//   timers.Define("save", [&](uint64_t) { Save(); });
//   timers.Define("expire", [&](uint64_t key) { Expire(key); });
//   ...
//   if (upgrader->fresh()) timers.Start("save", 0, absl::Minutes(1), absl::Minutes(1));
//   timers.Start("expire", 4711, absl::Seconds(30));
//
// A timer is (name, number): the name says what it does, the program defines that in code; the
// number says which one. A deadline is a point of CLOCK_MONOTONIC, which goes on across exec. A
// timer that came due during the upgrade fires once when the new program serves. A repeating one
// keeps its beat: periods that passed meanwhile are skipped, not made up for.
//
// All methods and callbacks are on the executor's thread. Callbacks may start and stop timers.
// Quiesced: FailedPrecondition.
#ifndef LIVEEXEC_HANDOFF_UV_TIMERS_H_
#define LIVEEXEC_HANDOFF_UV_TIMERS_H_

#include <uv.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "handoff/component.h"
#include "handoff/uv/loop_executor.h"

namespace liveexec::uv {

class Timers final : public Component {
 public:
  using Callback = std::function<void(uint64_t number)>;

  Timers(std::string name, LoopExecutor& executor);
  ~Timers() override;

  // What timers called `timer` do. Define all before Upgrader::Start; a second definition replaces
  // the first.
  void Define(std::string timer, Callback callback);

  // Fires `delay` from now (at once, from the loop, if that is not positive), then every `repeat`
  // if that is positive. A running timer is started anew. Fires never early, late by up to 1 ms and
  // the loop's own delay. NotFound: no such definition.
  absl::Status Start(std::string_view timer, uint64_t number, absl::Duration delay,
                     absl::Duration repeat = absl::ZeroDuration());
  // Ok also when it was not running.
  absl::Status Stop(std::string_view timer, uint64_t number);

  // Until it fires next (zero or negative: overdue); nothing when it is not running.
  std::optional<absl::Duration> Remaining(std::string_view timer, uint64_t number) const;
  // Running timers.
  size_t size() const { return timers_.size(); }

  std::string_view name() const override { return name_; }
  absl::Status Quiesce() override;
  absl::Status Export(ExportContext& context) const override;
  void Resume() override;
  // NotFound when a carried timer has no definition in this program: drop names by defining them
  // empty.
  absl::Status Rehydrate(ImportContext& context) override;
  void Activate() override;

 private:
  using Key = std::pair<std::string, uint64_t>;
  struct Timer {
    int64_t deadline_ns;  // CLOCK_MONOTONIC
    int64_t repeat_ns;    // 0: fires once
  };

  static void OnTimer(uv_timer_t* handle) noexcept;
  void Insert(Key key, Timer timer);
  void Remove(const Key& key);
  void FireDue();
  void Arm();

  const std::string name_;
  LoopExecutor& executor_;
  uv_timer_t* handle_;  // on the heap: the loop closes it after this object is gone
  bool serving_ = false;
  bool quiesced_ = false;
  std::map<std::string, Callback, std::less<>> definitions_;
  std::map<Key, Timer> timers_;
  std::set<std::pair<int64_t, Key>> by_deadline_;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_TIMERS_H_
