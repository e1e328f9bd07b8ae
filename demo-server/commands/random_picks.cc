#include "demo-server/commands/random_picks.h"

#include <limits>
#include <numeric>
#include <utility>

namespace liveexec::demo {

bool ReadRandomRequest(Call& call, std::string_view word, RandomRequest* request) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  if (call.size() == 2) return true;
  request->counted = true;
  if (!call.Integer(2, &request->count)) return false;
  if (request->count < -kMax) {
    call.reply().Error(
        "ERR value is out of range, value must between -9223372036854775807 and "
        "9223372036854775807");
    return false;
  }
  if (call.size() == 3) return true;
  if (call.size() > 4 || word.empty() || !call.Is(3, word)) {
    call.SyntaxError();
    return false;
  }
  request->with_values = true;
  if (request->count < -kMax / 2 || request->count > kMax / 2) {
    call.reply().Error("ERR value is out of range");
    return false;
  }
  return true;
}

std::vector<size_t> PickRandom(Engine& engine, size_t size, int64_t count) {
  std::vector<size_t> picks;
  if (size == 0 || count == 0) return picks;
  if (count < 0) {
    for (int64_t i = 0; i > count; --i) picks.push_back(engine.random() % size);
    return picks;
  }
  picks.resize(size);
  std::iota(picks.begin(), picks.end(), size_t{0});
  if (static_cast<uint64_t>(count) >= size) return picks;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    std::swap(picks[i], picks[i + engine.random() % (size - i)]);
  }
  picks.resize(static_cast<size_t>(count));
  return picks;
}

}  // namespace liveexec::demo
