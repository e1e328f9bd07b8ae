// The part of StreamLoop that puts idle connections aside ahead of a blackout, and takes them back.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/error.h"
#include "handoff/uv/fd_reserve.h"
#include "handoff/uv/stream_image.h"
#include "handoff/uv/stream_loop.h"

namespace liveexec::uv {
namespace {

// Work is done in slices of about this length, one in each millisecond: clients that are busy must
// not notice.
constexpr uint64_t kSliceNs = 400'000;
constexpr uint64_t kPeriodMs = 1;
// While there are too few fds to take anything back.
constexpr uint64_t kLackingPeriodMs = 20;
// What a set has open itself.
constexpr size_t kFdsOfSet = 4;

}  // namespace

void StreamLoop::Cool(absl::AnyInvocable<void() &&> done) {
  if (mode_ != Mode::kServing || shut_down_) return std::move(done)();
  if (warming_) {
    cool_next_ = std::move(done);
    return;
  }
  const uint64_t now_ms = uv_now(executor_.loop());
  if (!cold_.empty() || now_ms < options_.cold_after_ms) return std::move(done)();
  // Without a set all connections cross in the blackout.
  if (!AddEmptyColdSet()) return std::move(done)();
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
  FdReserve::OfThisProcess().PutAside(change);
}

// Whenever the sets have changed.
void StreamLoop::HoldFds() {
  size_t needed = 0;
  for (const auto& set : cold_) needed = std::max(needed, set->largest_batch());
  if (needed == held_fds_) return;
  FdReserve::OfThisProcess().Hold(static_cast<std::ptrdiff_t>(needed) -
                                  static_cast<std::ptrdiff_t>(held_fds_));
  held_fds_ = needed;
}

void StreamLoop::SetLacking(bool lacking) {
  if (lacking == lacking_) return;
  lacking_ = lacking;
  FdReserve& reserve = FdReserve::OfThisProcess();
  lacking ? reserve.BeginLacking() : reserve.EndLacking();
  if (open_handles_ > 0) {
    uv_timer_set_repeat(&cold_timer_, lacking ? kLackingPeriodMs : kPeriodMs);
  }
}

void StreamLoop::AddColdSet(std::unique_ptr<ColdSet> set) {
  const size_t members = set->size();
  cold_.push_back(std::move(set));
  HoldFds();
  CountAside(static_cast<std::ptrdiff_t>(members));
}

// False when there are no fds for one, or it could not be emptied again.
bool StreamLoop::AddEmptyColdSet() {
  constexpr size_t kNeeded = kFdsOfSet + ColdSet::kBatchSize;
  if (FdReserve::CountFree(kNeeded) < kNeeded) return false;
  auto set = ColdSet::Create();
  if (!set.ok()) return false;
  AddColdSet(*std::move(set));
  return true;
}

// The last one, which is empty.
void StreamLoop::DropColdSet() {
  if (mode_ == Mode::kQuiesced) emptied_.push_back(std::move(cold_.back()));
  cold_.pop_back();
  HoldFds();
  if (cold_.empty() && options_.on_all_back) options_.on_all_back();
}

// And with them their connections.
void StreamLoop::DropAllColdSets() {
  for (const auto& set : cold_) CountAside(-static_cast<std::ptrdiff_t>(set->size()));
  cold_.clear();
  emptied_.clear();
  HoldFds();
  SetLacking(false);
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
  absl::Status status;
  while (!cold_.empty() && status.ok()) status = WarmBatch();
  SetLacking(!status.ok());
  if (status.ok()) EndWarming();
  return status;
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

// False when there are too few fds: nothing is lost, they are tried again.
bool StreamLoop::TakeFromCold(uint64_t end_ns) {
  bool enough = true;
  // Those who have something to say come first.
  for (const auto& set : cold_) {
    const absl::Status status =
        TakeFrom(*set, [&](ColdSet::Taker take) { return set->TakeWoken(take); });
    enough &= !absl::IsResourceExhausted(status);
  }
  const bool warm = !std::exchange(warming_begins_, false) && warming_;
  while (warm && enough && !cold_.empty() && uv_hrtime() < end_ns) enough = WarmBatch().ok();
  return enough;
}

void StreamLoop::WorkOnCold() {
  const uint64_t end_ns = uv_hrtime() + kSliceNs;
  SetLacking(!TakeFromCold(end_ns));
  while (cooling_ != nullptr && uv_hrtime() < end_ns) {
    if (!CoolBatch()) EndCooling();
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
  absl::Status added = cold_.back()->Add(fds, message);
  if (ErrnoOf(added) == EAGAIN && cold_.back()->size() > 0 && AddEmptyColdSet()) {
    added = cold_.back()->Add(fds, message);
  }
  if (!added.ok()) return false;
  CountAside(static_cast<std::ptrdiff_t>(idle.size()));
  for (Stream* stream : idle) stream->GoCold();
  return true;
}

void StreamLoop::EndCooling() {
  if (cooling_ == nullptr) return;
  if (cold_.back()->size() == 0) DropColdSet();
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
    if (mode_ == Mode::kQuiesced) to_begin_.push_back((*stream)->id());
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
  if (set.size() == 0) DropColdSet();
  return absl::OkStatus();
}

}  // namespace liveexec::uv
