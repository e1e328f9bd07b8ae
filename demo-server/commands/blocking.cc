// Pops that can wait, and those of the same kind that do not: BLPOP, LMOVE, ZMPOP and so on.
#include <cmath>
#include <limits>
#include <string>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"
#include "demo-server/engine/pops.h"

namespace liveexec::demo {
namespace {

// A timeout argument in seconds as a deadline; 0 for none. False after an error reply.
bool ReadTimeout(Call& call, size_t i, int64_t* deadline_ms) {
  long double seconds = 0;
  if (!ParseLongDouble(call[i], &seconds) || std::isinf(seconds)) {
    call.reply().Error("ERR timeout is not a float or out of range");
    return false;
  }
  if (seconds < 0) {
    call.reply().Error("ERR timeout is negative");
    return false;
  }
  const long double ms = std::ceil(seconds * 1000);
  const int64_t now = Engine::MonotonicMs();
  if (ms > static_cast<long double>(std::numeric_limits<int64_t>::max() - now)) {
    call.reply().Error("ERR timeout is out of range");
    return false;
  }
  *deadline_ms = ms == 0 ? 0 : now + static_cast<int64_t>(ms);
  return true;
}

// Takes from the first key that has something. False when none has: nothing has been replied.
bool TryPop(Call& call, const Blocked& how) {
  for (const std::string& key : how.keys) {
    switch (Pop(call.engine(), call.database(), key, how, call.reply())) {
      case PopResult::kDone:
        return true;
      case PopResult::kMismatch:
        call.reply().Error(kWrongType);
        return true;
      case PopResult::kNothing:
        break;
    }
  }
  return false;
}

void PopOrWait(Call& call, Blocked how) {
  if (TryPop(call, how)) return;
  if (call.may_block()) return call.engine().Block(call.session(), std::move(how));
  if (how.operation == BlockingOperation::kListMove) return call.reply().Null();
  call.reply().NullArray();
}

// BLPOP key... timeout
void PopFirst(Call& call, BlockingOperation operation, bool front) {
  Blocked how{.operation = operation, .from_front = front};
  if (!ReadTimeout(call, call.size() - 1, &how.deadline_ms)) return;
  for (size_t i = 1; i + 1 < call.size(); ++i) how.keys.emplace_back(call[i]);
  PopOrWait(call, std::move(how));
}

bool ReadSide(Call& call, size_t i, bool* front) {
  *front = call.Is(i, "left");
  if (*front || call.Is(i, "right")) return true;
  call.SyntaxError();
  return false;
}

void Move(Call& call, Blocked how) {
  how.operation = BlockingOperation::kListMove;
  how.keys.emplace_back(call[1]);
  how.destination = std::string(call[2]);
  if (!TryPop(call, how)) call.reply().Null();
}

void Lmove(Call& call) {
  Blocked how;
  if (!ReadSide(call, 3, &how.from_front) || !ReadSide(call, 4, &how.to_front)) return;
  Move(call, std::move(how));
}

void MoveOrWait(Call& call, Blocked how, size_t timeout) {
  how.operation = BlockingOperation::kListMove;
  if (!ReadTimeout(call, timeout, &how.deadline_ms)) return;
  how.keys.emplace_back(call[1]);
  how.destination = std::string(call[2]);
  PopOrWait(call, std::move(how));
}

void Blmove(Call& call) {
  Blocked how;
  if (!ReadSide(call, 3, &how.from_front) || !ReadSide(call, 4, &how.to_front)) return;
  MoveOrWait(call, std::move(how), 5);
}

// numkeys key... LEFT|RIGHT [COUNT n], from argument `first` on; MIN|MAX for sorted sets.
bool ReadMany(Call& call, size_t first, Blocked* how) {
  const bool scores = how->operation == BlockingOperation::kScorePopMany;
  int64_t keys = 0;
  if (!ParseInteger(call[first], &keys) || keys <= 0) {
    call.reply().Error("ERR numkeys should be greater than 0");
    return false;
  }
  if (static_cast<size_t>(keys) >= call.size() - first - 1) {
    call.SyntaxError();
    return false;
  }
  size_t at = first + 1;
  for (int64_t i = 0; i < keys; ++i) how->keys.emplace_back(call[at++]);
  how->from_front = call.Is(at, scores ? "min" : "left");
  if (!how->from_front && !call.Is(at, scores ? "max" : "right")) {
    call.SyntaxError();
    return false;
  }
  ++at;
  how->count = 1;
  if (at == call.size()) return true;
  if (!call.Is(at, "count") || at + 2 != call.size()) {
    call.SyntaxError();
    return false;
  }
  if (!ParseInteger(call[at + 1], &how->count) || how->count <= 0) {
    call.reply().Error("ERR count should be greater than 0");
    return false;
  }
  return true;
}

void PopMany(Call& call, BlockingOperation operation) {
  Blocked how{.operation = operation};
  if (!ReadMany(call, 1, &how)) return;
  if (!TryPop(call, how)) call.reply().NullArray();
}

void PopManyOrWait(Call& call, BlockingOperation operation) {
  Blocked how{.operation = operation};
  if (!ReadTimeout(call, 1, &how.deadline_ms) || !ReadMany(call, 2, &how)) return;
  PopOrWait(call, std::move(how));
}

using Op = BlockingOperation;
constexpr uint32_t kMoves = kWrite | kDenyOom;

constexpr Command kCommands[] = {
    {"blpop", -3, kWrite | kBlocking, 1, -2, 1, Group::kList,
     [](Call& call) { PopFirst(call, Op::kListPop, true); }, "Take the head, or wait for one"},
    {"brpop", -3, kWrite | kBlocking, 1, -2, 1, Group::kList,
     [](Call& call) { PopFirst(call, Op::kListPop, false); }, "Take the tail, or wait for one"},
    {"lmove", 5, kMoves, 1, 2, 1, Group::kList, Lmove, "Move an element between lists"},
    {"rpoplpush", 3, kMoves, 1, 2, 1, Group::kList,
     [](Call& call) { Move(call, {.from_front = false, .to_front = true}); },
     "Move the tail to the head of another list"},
    {"blmove", 6, kMoves | kBlocking, 1, 2, 1, Group::kList, Blmove,
     "Move an element between lists, or wait for one"},
    {"brpoplpush", 4, kMoves | kBlocking, 1, 2, 1, Group::kList,
     [](Call& call) { MoveOrWait(call, {.from_front = false, .to_front = true}, 3); },
     "Move the tail to the head of another list, or wait for one"},
    {"lmpop", -4, kWrite | kMovableKeys, 0, 0, 0, Group::kList,
     [](Call& call) { PopMany(call, Op::kListPopMany); }, "Take elements of the first list"},
    {"blmpop", -5, kWrite | kBlocking | kMovableKeys, 0, 0, 0, Group::kList,
     [](Call& call) { PopManyOrWait(call, Op::kListPopMany); },
     "Take elements of the first list, or wait"},
    {"bzpopmin", -3, kWrite | kBlocking | kFast, 1, -2, 1, Group::kSortedSet,
     [](Call& call) { PopFirst(call, Op::kScorePop, true); },
     "Take the member with the lowest score, or wait"},
    {"bzpopmax", -3, kWrite | kBlocking | kFast, 1, -2, 1, Group::kSortedSet,
     [](Call& call) { PopFirst(call, Op::kScorePop, false); },
     "Take the member with the highest score, or wait"},
    {"zmpop", -4, kWrite | kMovableKeys, 0, 0, 0, Group::kSortedSet,
     [](Call& call) { PopMany(call, Op::kScorePopMany); }, "Take members of the first sorted set"},
    {"bzmpop", -5, kWrite | kBlocking | kMovableKeys, 0, 0, 0, Group::kSortedSet,
     [](Call& call) { PopManyOrWait(call, Op::kScorePopMany); },
     "Take members of the first sorted set, or wait"},
};

}  // namespace

absl::Span<const Command> BlockingCommands() { return kCommands; }

}  // namespace liveexec::demo
