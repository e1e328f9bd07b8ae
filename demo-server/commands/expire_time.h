// Times to live as arguments: EX 10, PXAT 1700000000000, and their checks.
#ifndef LIVEEXEC_DEMO_SERVER_COMMANDS_EXPIRE_TIME_H_
#define LIVEEXEC_DEMO_SERVER_COMMANDS_EXPIRE_TIME_H_

#include <cstddef>
#include <cstdint>

#include "demo-server/engine/call.h"

namespace liveexec::demo {

struct TimeUnit {
  bool seconds = true;    // else milliseconds
  bool absolute = false;  // Unix time, else from now
};

// Argument `i` in `unit` as Unix time in ms. Not positive or beyond what fits is "invalid expire
// time". False after an error reply.
bool ReadExpireTime(Call& call, size_t i, TimeUnit unit, int64_t* at);

// The options of SET and GETEX.
struct StringOptions {
  bool only_if_absent = false;   // NX
  bool only_if_present = false;  // XX
  bool get = false;
  bool keep_ttl = false;
  bool persist = false;
  size_t time_argument = 0;  // index of the expiry's argument; 0 for none
  TimeUnit unit;
};

// Parses the arguments from `first` on. `set`: those of SET, else those of GETEX. False after an
// error reply.
bool ReadStringOptions(Call& call, size_t first, bool set, StringOptions* options);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_COMMANDS_EXPIRE_TIME_H_
