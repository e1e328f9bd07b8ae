#include "handoff/uv/slices.h"

#include <utility>

namespace liveexec::uv {
namespace {

constexpr uint64_t kPeriodMs = 1;

}  // namespace

Slices::Slices(LoopExecutor& executor) : timer_(new uv_timer_t) {
  uv_timer_init(executor.loop(), timer_);
  timer_->data = this;
}

Slices::~Slices() {
  uv_close(reinterpret_cast<uv_handle_t*>(timer_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void Slices::Start(Work work, uint64_t delay_ms) {
  ++started_;
  work_ = std::move(work);
  uv_timer_start(timer_, OnTimer, delay_ms, kPeriodMs);
}

void Slices::Stop() {
  ++started_;
  work_ = nullptr;
  uv_timer_stop(timer_);
}

void Slices::OnTimer(uv_timer_t* timer) noexcept {
  auto* slices = static_cast<Slices*>(timer->data);
  const uint64_t mine = slices->started_;
  Work work = std::exchange(slices->work_, nullptr);
  const bool more = work(static_cast<int64_t>(uv_hrtime()) + kSliceNs);
  if (slices->started_ != mine) return;
  if (more) {
    slices->work_ = std::move(work);
  } else {
    uv_timer_stop(timer);
  }
}

}  // namespace liveexec::uv
