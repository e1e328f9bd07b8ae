// Slices: a long piece of work that is done bit by bit on a loop, between its other events.
//
//   Slices slices(executor);
//   slices.Start([&](int64_t end_ns) {      // as often as it says true
//     while (!work.empty() && MonotonicNs() < end_ns) work.pop_front();
//     return !work.empty();
//   });
//
// Each slice is kSliceNs, one in each millisecond: the clients of a loop that is busy wait at most
// for one. All calls on the loop's thread, or while it is parked. The destructor closes the timer;
// like every closed handle it needs the loop to run once more.
#ifndef LIVEEXEC_HANDOFF_UV_SLICES_H_
#define LIVEEXEC_HANDOFF_UV_SLICES_H_

#include <uv.h>

#include <cstdint>
#include <functional>

#include "handoff/uv/loop_executor.h"

namespace liveexec::uv {

class Slices {
 public:
  static constexpr int64_t kSliceNs = 400'000;

  // Does some of the work, until about `end_ns` (CLOCK_MONOTONIC); returns whether there is more.
  using Work = std::function<bool(int64_t end_ns)>;

  explicit Slices(LoopExecutor& executor);
  ~Slices();
  Slices(const Slices&) = delete;
  Slices& operator=(const Slices&) = delete;

  // Instead of whatever was under way; the first slice comes after `delay_ms`. `work` may call
  // Start or Stop.
  void Start(Work work, uint64_t delay_ms = 0);
  void Stop();
  bool running() const { return static_cast<bool>(work_); }

 private:
  static void OnTimer(uv_timer_t* timer) noexcept;

  uv_timer_t* timer_;  // on the heap: the loop closes it after this object is gone
  Work work_;
  uint64_t started_ = 0;  // so that a slice notices what it did to its own work
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_SLICES_H_
