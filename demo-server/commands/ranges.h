// Index ranges as arguments: both ends included, negative ones counted from the end.
#ifndef LIVEEXEC_DEMO_SERVER_COMMANDS_RANGES_H_
#define LIVEEXEC_DEMO_SERVER_COMMANDS_RANGES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace liveexec::demo {

struct IndexRange {
  size_t first = 0;
  size_t count = 0;
};

// [start, stop] of a sequence of `size` elements.
inline IndexRange ClipRange(int64_t start, int64_t stop, size_t size) {
  const int64_t end = static_cast<int64_t>(size);
  if (start < 0) start = std::max<int64_t>(start + end, 0);
  if (stop < 0) stop += end;
  stop = std::min(stop, end - 1);
  if (start > stop || start >= end) return {};
  return {static_cast<size_t>(start), static_cast<size_t>(stop - start + 1)};
}

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_COMMANDS_RANGES_H_
