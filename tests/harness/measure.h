// Measures of time: percentiles of a few exact samples, a histogram for millions, and the gap that
// a client sees.
#ifndef LIVEEXEC_TESTS_HARNESS_MEASURE_H_
#define LIVEEXEC_TESTS_HARNESS_MEASURE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace liveexec::harness {

// The smallest sample that at least `percent` (0 to 100) of all samples do not exceed (the
// nearest-rank definition). 0 when there are none.
int64_t Percentile(std::vector<int64_t> samples, double percent);

// Counts values from 0 to 2^62 in buckets whose width is at most 1/64 of their value: constant
// memory, any number of values. A percentile is the upper end of its bucket, but never above the
// largest value seen.
class LogHistogram {
 public:
  void Add(int64_t value);
  void Merge(const LogHistogram& other);
  int64_t Percentile(double percent) const;
  int64_t max() const { return max_; }
  uint64_t count() const { return count_; }

 private:
  static constexpr int kSubBits = 6;
  static constexpr size_t kBuckets = size_t{64} << kSubBits;
  static size_t BucketOf(uint64_t value);
  static int64_t UpperEnd(size_t bucket);

  std::array<uint32_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  int64_t max_ = 0;
};

// The longest time between two successive replies to one busy client, within a window: what an
// upgrade's blackout looks like from outside. A busy client has a request outstanding at all times,
// so its replies come one after another unless the server pauses.
//
//   gaps.Open();                     // an upgrade is asked for; the gap in progress counts in full
//   ... gaps.Reply(now) ...
//   gaps.Close();                    // it is done; the window ends with the next reply, which ends
//   the gap
//   ... until gaps.closed()
//   gaps.longest_ns();
class GapRecorder {
 public:
  void Reply(int64_t now_ns);
  void Open();
  void Close() { state_ = State::kClosing; }
  bool closed() const { return state_ == State::kClosed; }
  int64_t longest_ns() const { return longest_; }

 private:
  enum class State : uint8_t { kClosed, kOpen, kClosing };
  State state_ = State::kClosed;
  int64_t last_reply_ = 0;
  int64_t longest_ = 0;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_MEASURE_H_
