#include "demo-server/commands/expire_time.h"

#include <limits>
#include <string>

namespace liveexec::demo {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

// EX, PX, EXAT or PXAT.
bool IsUnit(std::string_view word, TimeUnit* unit) {
  if (IsWord(word, "ex"))
    *unit = {.seconds = true, .absolute = false};
  else if (IsWord(word, "px"))
    *unit = {.seconds = false, .absolute = false};
  else if (IsWord(word, "exat"))
    *unit = {.seconds = true, .absolute = true};
  else if (IsWord(word, "pxat"))
    *unit = {.seconds = false, .absolute = true};
  else
    return false;
  return true;
}

}  // namespace

bool ReadExpireTime(Call& call, size_t i, TimeUnit unit, int64_t* at) {
  int64_t value = 0;
  if (!call.Integer(i, &value)) return false;
  const bool fits = value > 0 && (!unit.seconds || value <= kMax / 1000);
  if (fits && unit.seconds) value *= 1000;
  if (!fits || (!unit.absolute && value > kMax - call.now())) {
    std::string text = "ERR invalid expire time in '";
    text.append(call.command().name).append("' command");
    call.reply().Error(text);
    return false;
  }
  *at = unit.absolute ? value : value + call.now();
  return true;
}

bool ReadStringOptions(Call& call, size_t first, bool set, StringOptions* options) {
  for (size_t i = first; i < call.size(); ++i) {
    const bool free_ttl = !options->keep_ttl && !options->persist && options->time_argument == 0;
    TimeUnit named;
    if (set && call.Is(i, "nx") && !options->only_if_present) {
      options->only_if_absent = true;
    } else if (set && call.Is(i, "xx") && !options->only_if_absent) {
      options->only_if_present = true;
    } else if (set && call.Is(i, "get")) {
      options->get = true;
    } else if (set && call.Is(i, "keepttl") && !options->persist && options->time_argument == 0) {
      options->keep_ttl = true;
    } else if (!set && call.Is(i, "persist") && options->time_argument == 0) {
      options->persist = true;
    } else if (IsUnit(call[i], &named) && free_ttl && i + 1 < call.size()) {
      options->unit = named;
      options->time_argument = ++i;
    } else {
      call.SyntaxError();
      return false;
    }
  }
  return true;
}

}  // namespace liveexec::demo
