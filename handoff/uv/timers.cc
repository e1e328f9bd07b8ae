#include "handoff/uv/timers.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/clock.h"
#include "core/error.h"
#include "handoff/uv/images.capnp.h"

namespace liveexec::uv {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kForever = std::numeric_limits<int64_t>::max();

int64_t SaturatingAdd(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? kForever : sum;
}

absl::Status Quiesced() {
  return absl::FailedPreconditionError("timers are quiesced for an upgrade");
}

}  // namespace

Timers::Timers(std::string name, LoopExecutor& executor)
    : name_(std::move(name)), executor_(executor), handle_(new uv_timer_t) {
  uv_timer_init(executor.loop(), handle_);
  handle_->data = this;
}

Timers::~Timers() {
  uv_close(reinterpret_cast<uv_handle_t*>(handle_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void Timers::Define(std::string timer, Callback callback) {
  definitions_[std::move(timer)] = std::move(callback);
}

absl::Status Timers::Start(std::string_view timer, uint64_t number, absl::Duration delay,
                           absl::Duration repeat) {
  if (quiesced_) return Quiesced();
  auto definition = definitions_.find(timer);
  if (definition == definitions_.end()) {
    return absl::NotFoundError(absl::StrCat("no timer is defined as ", std::string(timer)));
  }
  const Key key(definition->first, number);
  Remove(key);
  const int64_t delay_ns = std::max<int64_t>(absl::ToInt64Nanoseconds(delay), 0);
  const int64_t repeat_ns = std::max<int64_t>(absl::ToInt64Nanoseconds(repeat), 0);
  Insert(key, {SaturatingAdd(MonotonicNs(), delay_ns), repeat_ns});
  Arm();
  return absl::OkStatus();
}

absl::Status Timers::Stop(std::string_view timer, uint64_t number) {
  if (quiesced_) return Quiesced();
  Remove(Key(timer, number));
  Arm();
  return absl::OkStatus();
}

std::optional<absl::Duration> Timers::Remaining(std::string_view timer, uint64_t number) const {
  auto found = timers_.find(Key(timer, number));
  if (found == timers_.end()) return std::nullopt;
  return absl::Nanoseconds(found->second.deadline_ns - MonotonicNs());
}

void Timers::Insert(Key key, Timer timer) {
  by_deadline_.emplace(timer.deadline_ns, key);
  timers_.emplace(std::move(key), timer);
}

void Timers::Remove(const Key& key) {
  auto found = timers_.find(key);
  if (found == timers_.end()) return;
  by_deadline_.erase({found->second.deadline_ns, key});
  timers_.erase(found);
}

void Timers::OnTimer(uv_timer_t* handle) noexcept { static_cast<Timers*>(handle->data)->FireDue(); }

void Timers::FireDue() {
  // One look at the clock: what becomes due while callbacks run has its turn after other events.
  const int64_t now = MonotonicNs();
  while (!by_deadline_.empty() && by_deadline_.begin()->first <= now) {
    const Key key = by_deadline_.begin()->second;
    Timer timer = timers_.at(key);
    Remove(key);
    if (timer.repeat_ns > 0) {
      // The beat is kept, and what was missed is skipped.
      const int64_t missed = (now - timer.deadline_ns) / timer.repeat_ns;
      timer.deadline_ns += (missed + 1) * timer.repeat_ns;
      Insert(key, timer);
    }
    // A copy: the callback may define it anew.
    const Callback callback = definitions_.at(key.first);
    if (callback) callback(key.second);
  }
  Arm();
}

void Timers::Arm() {
  if (!serving_) return;
  if (by_deadline_.empty()) {
    uv_timer_stop(handle_);
    return;
  }
  const int64_t left = std::max<int64_t>(by_deadline_.begin()->first - MonotonicNs(), 0);
  // libuv counts from the loop's own idea of now, in whole milliseconds: rounded up, never early.
  uv_update_time(executor_.loop());
  uv_timer_start(handle_, OnTimer, static_cast<uint64_t>((left + kNsPerMs - 1) / kNsPerMs), 0);
}

absl::Status Timers::Quiesce() {
  quiesced_ = true;
  return absl::OkStatus();
}

void Timers::Resume() { quiesced_ = false; }

absl::Status Timers::Export(ExportContext& context) const {
  auto records =
      context.InitRoot<image::Timers>().initTimers(static_cast<unsigned>(timers_.size()));
  unsigned i = 0;
  for (const auto& [key, timer] : timers_) {
    image::Timers::Timer::Builder record = records[i++];
    record.setName(key.first);
    record.setNumber(key.second);
    record.setDeadlineNs(timer.deadline_ns);
    record.setRepeatNs(timer.repeat_ns);
  }
  return absl::OkStatus();
}

absl::Status Timers::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(const auto image, context.Root<image::Timers>());
  for (image::Timers::Timer::Reader record : image.getTimers()) {
    std::string name = record.getName();
    if (!definitions_.contains(name)) {
      return absl::NotFoundError(
          absl::StrCat("the timer ", name, " runs, but is not defined here"));
    }
    const Timer timer = {record.getDeadlineNs(), record.getRepeatNs()};
    if (timer.deadline_ns < 0 || timer.repeat_ns < 0) {
      return absl::DataLossError(absl::StrCat("the timer ", name, " has an impossible record"));
    }
    Remove({name, record.getNumber()});
    Insert({std::move(name), record.getNumber()}, timer);
  }
  return absl::OkStatus();
}

void Timers::Activate() {
  serving_ = true;
  Arm();
}

}  // namespace liveexec::uv
