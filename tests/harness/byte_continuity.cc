#include "tests/harness/byte_continuity.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace liveexec::harness {

namespace {

constexpr size_t kMaxFindings = 20;
constexpr size_t kMaxSegments = 10000;
constexpr size_t kMaxForeignRun = 4096;  // longer runs of bytes from nowhere end the search

std::string Shown(std::string_view bytes) {
  return absl::StrCat(
      "'", absl::CHexEscape(absl::string_view(bytes.data(), std::min<size_t>(bytes.size(), 16))),
      "'");
}

// Counts what the segments, in the order of their arrival, leave out and repeat of [0, end).
class Coverage {
 public:
  void Add(uint64_t from, uint64_t to) {
    uint64_t fresh = to - from;
    uint64_t fresh_late = from < high_ ? std::min(to, high_) - from : 0;
    for (const auto& [begin, end] : seen_) {
      const uint64_t low = std::max(begin, from);
      const uint64_t high = std::min(end, to);
      if (low >= high) continue;
      fresh -= high - low;
      doubled += high - low;
      if (low < high_) fresh_late -= std::min(high, high_) - low;
    }
    covered_ += fresh;
    reordered += fresh_late;
    high_ = std::max(high_, to);
    Merge(from, to);
  }
  uint64_t Missing(uint64_t end) const { return end - covered_; }

  uint64_t doubled = 0;
  uint64_t reordered = 0;

 private:
  void Merge(uint64_t from, uint64_t to) {
    std::vector<std::pair<uint64_t, uint64_t>> kept;
    for (const auto& [begin, end] : seen_) {
      if (end < from || begin > to) {
        kept.emplace_back(begin, end);
      } else {
        from = std::min(from, begin);
        to = std::max(to, end);
      }
    }
    kept.emplace_back(from, to);
    seen_ = std::move(kept);
  }

  std::vector<std::pair<uint64_t, uint64_t>> seen_;  // disjoint
  uint64_t covered_ = 0;
  uint64_t high_ = 0;
};

}  // namespace

std::string ContinuityResult::ToString() const {
  if (intact()) return absl::StrCat(bytes_arrived, " bytes, all once, whole and in order");
  return absl::StrCat(bytes_lost, " bytes lost, ", bytes_doubled, " doubled, ", bytes_reordered,
                      " out of order, ", bytes_foreign, " foreign, of ", bytes_expected, ": ",
                      absl::StrJoin(findings, "; "));
}

void ByteContinuity::Note(std::string finding) {
  if (findings_.size() < kMaxFindings) findings_.push_back(std::move(finding));
}

void ByteContinuity::ForgetHistory() {
  if (cursor_ - base_ < 2 * kHistory) return;
  const uint64_t forgotten = cursor_ - base_ - kHistory;
  stream_.erase(0, forgotten);
  base_ += forgotten;
}

void ByteContinuity::Arrived(std::string_view bytes) {
  arrived_ += bytes.size();
  if (hopeless_) {
    foreign_ += bytes.size();
    return;
  }
  suspect_.append(bytes);
  while (!suspect_.empty()) {
    const size_t at = cursor_ - base_;
    const size_t comparable = std::min(suspect_.size(), stream_.size() - at);
    const auto mismatch =
        std::mismatch(suspect_.begin(), suspect_.begin() + static_cast<ptrdiff_t>(comparable),
                      stream_.begin() + static_cast<ptrdiff_t>(at));
    const size_t fitting = static_cast<size_t>(mismatch.first - suspect_.begin());
    cursor_ += fitting;
    suspect_.erase(0, fitting);
    if (suspect_.empty() || !Understand(false)) break;
  }
  ForgetHistory();
}

void ByteContinuity::JumpTo(uint64_t target) {
  segments_.push_back({segment_start_, cursor_});
  if (target > cursor_) {
    Note(absl::StrCat("at byte ", cursor_, ": ", target - cursor_, " bytes are missing"));
  } else if (target < cursor_) {
    Note(absl::StrCat("at byte ", cursor_, ": the stream goes on from byte ", target, ", ",
                      cursor_ - target, " bytes back"));
  }
  segment_start_ = cursor_ = target;
  if (segments_.size() > kMaxSegments) hopeless_ = true;
}

// Finds where in the stream suspect_ belongs. False: more bytes are needed to tell, or it is
// hopeless.
bool ByteContinuity::Understand(bool final) {
  if (hopeless_) {
    foreign_ += suspect_.size();
    suspect_.clear();
    return false;
  }
  if (suspect_.size() < kContext && !final) return false;
  const std::string needle = suspect_.substr(0, kContext);
  const size_t at = cursor_ - base_;
  const size_t ahead = stream_.find(needle, at);
  if (ahead != std::string::npos) {
    JumpTo(base_ + ahead);
    return true;
  }
  const size_t back = at == 0 ? std::string::npos : stream_.rfind(needle, at - 1);
  if (back != std::string::npos) {
    JumpTo(base_ + back);
    return true;
  }
  return UnderstandForeign(final);
}

bool ByteContinuity::UnderstandForeign(bool final) {
  const size_t at = cursor_ - base_;
  const size_t low = at > kHistory ? at - kHistory : 0;
  for (size_t skip = 1; skip < suspect_.size() && skip <= kMaxForeignRun; ++skip) {
    const std::string needle = suspect_.substr(skip, kContext);
    if (needle.size() < (final ? 4 : kContext)) break;
    size_t found = stream_.find(needle, at);
    if (found == std::string::npos) found = stream_.find(needle, low);
    if (found == std::string::npos) continue;
    Note(absl::StrCat("at byte ", cursor_, ": ", skip, " bytes that nobody sent: ",
                      Shown(std::string_view(suspect_).substr(0, skip))));
    foreign_ += skip;
    suspect_.erase(0, skip);
    JumpTo(base_ + found);
    return true;
  }
  if (suspect_.size() <= kMaxForeignRun && !final) return false;
  Note(absl::StrCat("at byte ", cursor_, ": ", suspect_.size(),
                    " bytes that nobody sent: ", Shown(suspect_)));
  foreign_ += suspect_.size();
  suspect_.clear();
  hopeless_ = true;
  return false;
}

ContinuityResult ByteContinuity::Finish() {
  while (!suspect_.empty() && Understand(true)) {
    // The same walk as for an arrival, with what little context there is.
    std::string rest;
    rest.swap(suspect_);
    arrived_ -= rest.size();
    const uint64_t before = cursor_;
    Arrived(rest);
    if (cursor_ == before) break;
  }
  foreign_ += suspect_.size();
  suspect_.clear();
  Coverage coverage;
  for (const Segment& segment : segments_) coverage.Add(segment.from, segment.to);
  coverage.Add(segment_start_, cursor_);
  ContinuityResult result;
  result.bytes_expected = expected_end();
  result.bytes_arrived = arrived_;
  result.bytes_lost = coverage.Missing(expected_end());
  result.bytes_doubled = coverage.doubled;
  result.bytes_reordered = coverage.reordered;
  result.bytes_foreign = foreign_;
  if (cursor_ < expected_end()) {
    Note(absl::StrCat("the stream ends at byte ", cursor_, ", ", expected_end() - cursor_,
                      " bytes too early"));
  }
  result.findings = std::move(findings_);
  return result;
}

}  // namespace liveexec::harness
