// Random picks: SRANDMEMBER, HRANDFIELD, ZRANDMEMBER and their arguments.
#ifndef LIVEEXEC_DEMO_SERVER_COMMANDS_RANDOM_PICKS_H_
#define LIVEEXEC_DEMO_SERVER_COMMANDS_RANDOM_PICKS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "demo-server/engine/call.h"

namespace liveexec::demo {

struct RandomRequest {
  bool counted = false;
  int64_t count = 1;  // negative: with repetition
  bool with_values = false;
};

// key [count [<word>]]; `word` is "withvalues", "withscores", or empty for none. False after an
// error reply.
bool ReadRandomRequest(Call& call, std::string_view word, RandomRequest* request);

// Positions below `size`: `count` different ones (at most `size`), or -count with repetition.
std::vector<size_t> PickRandom(Engine& engine, size_t size, int64_t count);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_COMMANDS_RANDOM_PICKS_H_
