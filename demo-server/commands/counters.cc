// Counters: strings that are numbers.
#include <cmath>
#include <limits>
#include <string>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

void Add(Call& call, int64_t increment) {
  Bytes* bytes;
  if (!call.Find(call[1], &bytes)) return;
  int64_t value = 0;
  if (bytes != nullptr && !ParseInteger(*bytes, &value)) return call.reply().Error(kNotInteger);
  if (__builtin_add_overflow(value, increment, &value)) {
    return call.reply().Error("ERR increment or decrement would overflow");
  }
  char digits[kIntegerChars];
  const std::string_view text(digits, WriteInteger(value, digits));
  if (bytes == nullptr) {
    call.Insert(call[1], Value(text));
  } else {
    bytes->assign(text);
  }
  call.Modified(call[1]);
  call.reply().Integer(value);
}

void IncrBy(Call& call) {
  int64_t increment = 0;
  if (call.Integer(2, &increment)) Add(call, increment);
}

void DecrBy(Call& call) {
  int64_t decrement = 0;
  if (!call.Integer(2, &decrement)) return;
  if (decrement == std::numeric_limits<int64_t>::min()) {
    return call.reply().Error("ERR decrement would overflow");
  }
  Add(call, -decrement);
}

void IncrByFloat(Call& call) {
  Bytes* bytes;
  if (!call.Find(call[1], &bytes)) return;
  long double value = 0;
  long double increment = 0;
  if ((bytes != nullptr && !ParseLongDouble(*bytes, &value)) ||
      !ParseLongDouble(call[2], &increment)) {
    return call.reply().Error(kNotFloat);
  }
  value += increment;
  if (std::isnan(value) || std::isinf(value)) {
    return call.reply().Error("ERR increment would produce NaN or Infinity");
  }
  const std::string text = FormatLongDouble(value);
  if (bytes == nullptr) {
    call.Insert(call[1], Value(std::string_view(text)));
  } else {
    bytes->assign(text);
  }
  call.Modified(call[1]);
  call.reply().Bulk(text);
}

constexpr Command kCommands[] = {
    {"incr", 2, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kString,
     [](Call& call) { Add(call, 1); }, "Add 1"},
    {"decr", 2, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kString,
     [](Call& call) { Add(call, -1); }, "Subtract 1"},
    {"incrby", 3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kString, IncrBy, "Add a number"},
    {"decrby", 3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kString, DecrBy, "Subtract a number"},
    {"incrbyfloat", 3, kWrite | kDenyOom | kFast, 1, 1, 1, Group::kString, IncrByFloat,
     "Add a floating point number"},
};

}  // namespace

absl::Span<const Command> CounterCommands() { return kCommands; }

}  // namespace liveexec::demo
