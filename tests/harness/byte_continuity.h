// ByteContinuity: proves that a stream of bytes arrived once, whole and in order, or says what is
// wrong where.
//
//   ByteContinuity check;
//   check.Expect("+OK\r\n");        // before it can arrive
//   check.Arrived(bytes);
//   ContinuityResult result = check.Finish();   // what was expected and did not come is lost
//
// How it finds out: what arrives is laid along the expected stream. Where the next byte does not
// fit, the following kContext bytes are looked for further on (bytes were lost), further back (they
// came twice), or, when they belong nowhere, past bytes that nobody sent (foreign). So the arrival
// becomes a list of segments of the expected stream, and from the segments follow, exactly, what is
// missing, what came more than once, and what came late. The stream needs enough variety that
// kContext bytes of it are rarely repeated nearby; PositionCodedBytes has that, and so do replies
// that hold numbers or random payloads.
//
// A position may be reported a few bytes late where lost and following bytes begin alike; counts
// are exact. Memory: what is outstanding, and kHistory bytes before it. Not thread-safe.
#ifndef LIVEEXEC_TESTS_HARNESS_BYTE_CONTINUITY_H_
#define LIVEEXEC_TESTS_HARNESS_BYTE_CONTINUITY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace liveexec::harness {

struct ContinuityResult {
  uint64_t bytes_expected = 0;
  uint64_t bytes_arrived = 0;
  uint64_t bytes_lost = 0;
  uint64_t bytes_doubled = 0;
  uint64_t bytes_reordered = 0;
  uint64_t bytes_foreign = 0;         // arrived, but belong nowhere in the stream
  std::vector<std::string> findings;  // in the order of arrival, at most 20

  bool intact() const {
    return bytes_lost == 0 && bytes_doubled == 0 && bytes_reordered == 0 && bytes_foreign == 0;
  }
  std::string ToString() const;
};

class ByteContinuity {
 public:
  static constexpr size_t kContext = 24;
  static constexpr size_t kHistory = size_t{1} << 18;

  void Expect(std::string_view bytes) { stream_.append(bytes); }
  void Arrived(std::string_view bytes);

  // The position in the expected stream that the next byte should have. It stops while a deviation
  // is not yet understood.
  uint64_t position() const { return cursor_; }
  uint64_t expected_end() const { return base_ + stream_.size(); }
  bool complete() const { return suspect_.empty() && cursor_ == expected_end(); }
  // Whether all that arrived so far fitted.
  bool intact() const { return segments_.empty() && suspect_.empty() && foreign_ == 0; }

  // No more bytes will arrive. Call it once, last.
  ContinuityResult Finish();

 private:
  struct Segment {
    uint64_t from;
    uint64_t to;
  };

  bool Understand(bool final);
  bool UnderstandForeign(bool final);
  void JumpTo(uint64_t target);
  void Note(std::string finding);
  void ForgetHistory();

  std::string stream_;  // the expected bytes from base_ on
  uint64_t base_ = 0;
  uint64_t cursor_ = 0;
  uint64_t segment_start_ = 0;
  std::vector<Segment> segments_;  // closed ones; empty as long as nothing was wrong
  std::string suspect_;            // arrived, did not fit at cursor_
  uint64_t arrived_ = 0;
  uint64_t foreign_ = 0;
  bool hopeless_ = false;  // too far off to follow: everything since then is foreign
  std::vector<std::string> findings_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_BYTE_CONTINUITY_H_
