// The part of StreamLoop that puts idle connections aside ahead of a blackout, and takes them back.
#include <utility>

#include "core/error.h"
#include "handoff/uv/stream_image.h"
#include "handoff/uv/stream_loop.h"

namespace liveexec::uv {
namespace {

// Work is done in slices of about this length, one in each millisecond: clients that are busy must
// not notice.
constexpr uint64_t kSliceNs = 400'000;
constexpr uint64_t kPeriodMs = 1;

}  // namespace

void StreamLoop::Cool(absl::AnyInvocable<void() &&> done) {
  if (mode_ != Mode::kServing || shut_down_) return std::move(done)();
  if (warming_) {
    cool_next_ = std::move(done);
    return;
  }
  const uint64_t now_ms = uv_now(executor_.loop());
  if (!cold_.empty() || now_ms < options_.cold_after_ms) return std::move(done)();
  auto set = ColdSet::Create();
  // Without one all connections cross in the blackout.
  if (!set.ok()) return std::move(done)();
  cold_.push_back(*std::move(set));
  cooling_ = std::make_unique<Cooling>();
  cooling_->candidates.reserve(streams_.size());
  for (const auto& [id, stream] : streams_) cooling_->candidates.push_back(id);
  cooling_->idle_since_ms = now_ms - options_.cold_after_ms + 1;
  cooling_->done = std::move(done);
  StartColdTimer();
}

// Before a connection's handler goes, and after another one has been made for it: where nothing is
// counted, all handlers are there.
void StreamLoop::CountAside(std::ptrdiff_t change) {
  if (options_.aside != nullptr) options_.aside->fetch_add(static_cast<size_t>(change));
}

void StreamLoop::AddColdSet(std::unique_ptr<ColdSet> set) {
  CountAside(static_cast<std::ptrdiff_t>(set->size()));
  cold_.push_back(std::move(set));
}

void StreamLoop::Warm() {
  if (cool_next_) std::move(cool_next_)();
  cool_next_ = nullptr;
  EndCooling();
  if (cold_.empty() || warming_) return;
  warming_ = warming_begins_ = true;
  StartColdTimer();
}

absl::Status StreamLoop::WarmNow() {
  EndCooling();
  while (!cold_.empty()) LIVEEXEC_RETURN_IF_ERROR(WarmBatch());
  EndWarming();
  return absl::OkStatus();
}

void StreamLoop::EndWarming() {
  warming_ = false;
  if (!cool_next_) return;
  auto done = std::move(cool_next_);
  cool_next_ = nullptr;
  Cool(std::move(done));
}

void StreamLoop::StartColdTimer() {
  OpenHandles();
  uv_timer_start(&cold_timer_, OnColdTimer, 0, kPeriodMs);
}

void StreamLoop::OnColdTimer(uv_timer_t* timer) noexcept {
  auto* self = static_cast<StreamLoop*>(timer->data);
  if (self->mode_ == Mode::kServing) self->WorkOnCold();
}

void StreamLoop::WorkOnCold() {
  // Those who have something to say come first.
  for (const auto& set : cold_) {
    // Nothing is lost for want of fds; they are tried again.
    TakeFrom(*set, [&](ColdSet::Taker take) { return set->TakeWoken(take); }).IgnoreError();
  }
  const uint64_t end_ns = uv_hrtime() + kSliceNs;
  while (cooling_ != nullptr && uv_hrtime() < end_ns) {
    if (!CoolBatch()) EndCooling();
  }
  if (!std::exchange(warming_begins_, false) && warming_) {
    while (!cold_.empty() && uv_hrtime() < end_ns && WarmBatch().ok()) {
    }
  }
  if (!cold_.empty()) return;
  uv_timer_stop(&cold_timer_);
  EndWarming();
}

// False when there is nothing more to put aside, or no room for it.
bool StreamLoop::CoolBatch() {
  std::vector<Stream*> idle;
  auto& candidates = cooling_->candidates;
  while (!candidates.empty() && idle.size() < ColdSet::kBatchSize) {
    Stream* stream = Find(candidates.back());
    candidates.pop_back();
    if (stream != nullptr && stream->MayGoCold(cooling_->idle_since_ms)) idle.push_back(stream);
  }
  if (idle.empty()) return false;
  capnp::MallocMessageBuilder message;
  auto records =
      message.initRoot<image::ColdBatch>().initStreams(static_cast<unsigned>(idle.size()));
  std::vector<int> fds;
  for (unsigned i = 0; i < records.size(); ++i) {
    if (!StreamImage::Save(*idle[i], records[i]).ok()) return false;
    fds.push_back(idle[i]->fd());
  }
  if (!cold_.back()->Add(fds, message).ok()) return false;
  CountAside(static_cast<std::ptrdiff_t>(idle.size()));
  for (Stream* stream : idle) stream->GoCold();
  return true;
}

void StreamLoop::EndCooling() {
  if (cooling_ == nullptr) return;
  if (cold_.back()->size() == 0) cold_.pop_back();
  auto done = std::move(cooling_->done);
  cooling_.reset();
  std::move(done)();
}

absl::Status StreamLoop::TakeFrom(ColdSet& set,
                                  absl::FunctionRef<absl::Status(ColdSet::Taker)> take) {
  const size_t all = set.size();
  size_t before = all;
  absl::Status status = take([&](UniqueFd fd, image::Stream::Reader record) {
    --before;
    auto stream = Adopt(std::move(fd), record);
    if (!stream.ok()) {
      // One that was made, but whose handler refuses its state, is closed like any other.
      if (Stream* made = Find(record.getId())) return made->Close();
      if (options_.on_lost) options_.on_lost();
      return;
    }
    (*stream)->Set(Stream::kWasCold);
    (*stream)->last_event_ms_ = 0;
    if (mode_ == Mode::kServing) BeginCarried(**stream);
  });
  for (; before > set.size(); --before) {
    if (options_.on_lost) options_.on_lost();
  }
  CountAside(-static_cast<std::ptrdiff_t>(all - set.size()));
  return status;
}

// ResourceExhausted when it has to be tried again.
absl::Status StreamLoop::WarmBatch() {
  ColdSet& set = *cold_.back();
  if (set.size() > 0) {
    const absl::Status status =
        TakeFrom(set, [&](ColdSet::Taker take) { return set.TakeBatch(take); });
    if (absl::IsResourceExhausted(status)) return status;
  }
  if (set.size() == 0) cold_.pop_back();
  return absl::OkStatus();
}

}  // namespace liveexec::uv
