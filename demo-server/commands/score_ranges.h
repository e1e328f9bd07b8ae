// Ranges of sorted sets as arguments: by score ("(1" "+inf"), by bytes ("[a" "+"), by rank; and the
// ranks that they mean in a given set.
#ifndef LIVEEXEC_DEMO_SERVER_COMMANDS_SCORE_RANGES_H_
#define LIVEEXEC_DEMO_SERVER_COMMANDS_SCORE_RANGES_H_

#include <cstdint>
#include <string_view>

#include "demo-server/commands/ranges.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {

struct ScoreRange {
  double min = 0;
  double max = 0;
  bool min_excluded = false;
  bool max_excluded = false;
};

// One end of a range of byte strings: "-" and "+" are before and after everything.
struct LexBound {
  enum Kind { kFirst, kIncluded, kExcluded, kLast };
  Kind kind = kFirst;
  std::string_view bytes;
};

struct LexRange {
  LexBound min;
  LexBound max;
};

enum class RangeBy { kRank, kScore, kLex };

// A range of any of the three kinds. `start` and `stop` are arguments' indexes, always min first.
class AnyRange {
 public:
  // False after an error reply.
  bool Read(Call& call, RangeBy by, size_t min, size_t max);
  // The ranks of its members; for kRank with `reverse` the arguments count from the end.
  IndexRange In(const SortedSet& set, bool reverse) const;

 private:
  RangeBy by_ = RangeBy::kRank;
  int64_t start_ = 0;
  int64_t stop_ = 0;
  ScoreRange scores_;
  LexRange lex_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_COMMANDS_SCORE_RANGES_H_
