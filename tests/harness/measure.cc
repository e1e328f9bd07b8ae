#include "tests/harness/measure.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace liveexec::harness {

int64_t Percentile(std::vector<int64_t> samples, double percent) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const double rank = std::ceil(percent / 100.0 * static_cast<double>(samples.size()));
  const size_t index = rank < 1 ? 0 : static_cast<size_t>(rank) - 1;
  return samples[std::min(index, samples.size() - 1)];
}

size_t LogHistogram::BucketOf(uint64_t value) {
  if (value < (uint64_t{1} << kSubBits)) return static_cast<size_t>(value);
  const int exponent = std::bit_width(value) - 1 - kSubBits;  // >= 0
  const uint64_t mantissa = (value >> exponent) - (uint64_t{1} << kSubBits);
  return (static_cast<size_t>(exponent + 1) << kSubBits) + static_cast<size_t>(mantissa);
}

int64_t LogHistogram::UpperEnd(size_t bucket) {
  if (bucket < (size_t{1} << kSubBits)) return static_cast<int64_t>(bucket);
  const int exponent = static_cast<int>(bucket >> kSubBits) - 1;
  const uint64_t mantissa = (bucket & ((size_t{1} << kSubBits) - 1)) + (uint64_t{1} << kSubBits);
  return static_cast<int64_t>(((mantissa + 1) << exponent) - 1);
}

void LogHistogram::Add(int64_t value) {
  const uint64_t counted = value < 0 ? 0 : static_cast<uint64_t>(value);
  ++buckets_[std::min(BucketOf(counted), kBuckets - 1)];
  ++count_;
  max_ = std::max(max_, value);
}

void LogHistogram::Merge(const LogHistogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

int64_t LogHistogram::Percentile(double percent) const {
  const double rank = std::ceil(percent / 100.0 * static_cast<double>(count_));
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += buckets_[i];
    if (seen > 0 && static_cast<double>(seen) >= rank) return std::min(UpperEnd(i), max_);
  }
  return max_;
}

void GapRecorder::Open() {
  state_ = State::kOpen;
  longest_ = 0;
}

void GapRecorder::Reply(int64_t now_ns) {
  if (state_ != State::kClosed && last_reply_ != 0)
    longest_ = std::max(longest_, now_ns - last_reply_);
  if (state_ == State::kClosing) state_ = State::kClosed;
  last_reply_ = now_ns;
}

}  // namespace liveexec::harness
