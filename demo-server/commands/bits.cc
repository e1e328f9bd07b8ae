// Strings as arrays of bits. Bit 0 is the highest bit of the first byte.
#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

constexpr std::string_view kBadOffset = "ERR bit offset is not an integer or out of range";
constexpr int64_t kMaxBits = RespParser::kMaxBulk * 8;

bool ReadOffset(Call& call, size_t i, int64_t* offset) {
  if (!call.Integer(i, offset, kBadOffset)) return false;
  if (*offset >= 0 && *offset < kMaxBits) return true;
  call.reply().Error(kBadOffset);
  return false;
}

bool BitAt(std::string_view bytes, int64_t bit) {
  const size_t at = static_cast<size_t>(bit) / 8;
  if (at >= bytes.size()) return false;
  return (static_cast<unsigned char>(bytes[at]) >> (7 - bit % 8) & 1) != 0;
}

void GetBit(Call& call) {
  int64_t offset = 0;
  if (!ReadOffset(call, 2, &offset)) return;
  const Bytes* bytes;
  if (!call.Read(call[1], &bytes)) return;
  call.reply().Integer(bytes != nullptr && BitAt(*bytes, offset) ? 1 : 0);
}

void SetBit(Call& call) {
  int64_t offset = 0;
  if (!ReadOffset(call, 2, &offset)) return;
  if (call[3] != "0" && call[3] != "1") {
    return call.reply().Error("ERR bit is not an integer or out of range");
  }
  Bytes* bytes;
  if (!call.FindOrCreate(call[1], &bytes)) return;
  const size_t at = static_cast<size_t>(offset) / 8;
  if (bytes->size() <= at) bytes->resize(at + 1);
  const bool old = BitAt(*bytes, offset);
  const unsigned mask = 1u << (7 - offset % 8);
  const unsigned byte = static_cast<unsigned char>((*bytes)[at]);
  (*bytes)[at] = static_cast<char>(call[3] == "1" ? byte | mask : byte & ~mask);
  call.Find(call[1])->value.MarkEdited();
  call.Modified(call[1]);
  call.reply().Integer(old ? 1 : 0);
}

// The bits [first, last] that the optional arguments from `i` on select; first > last for none.
struct BitRange {
  int64_t first = 0;
  int64_t last = -1;
  bool has_end = false;
};

// "-1 -5": nothing, whatever follows. BITCOUNT looks at that before it looks at the unit.
bool IsBackwards(int64_t start, int64_t end) { return start < 0 && end < 0 && start > end; }

bool ReadRange(Call& call, size_t i, int64_t bytes, BitRange* range) {
  range->last = bytes * 8 - 1;
  if (i >= call.size()) return true;
  int64_t start = 0;
  int64_t end = -1;
  bool bits = false;
  if (!call.Integer(i, &start)) return false;
  if (i + 1 < call.size()) {
    if (!call.Integer(i + 1, &end)) return false;
    range->has_end = true;
  }
  if (IsBackwards(start, end)) {
    range->last = -1;
    return true;
  }
  if (i + 2 < call.size()) {
    bits = call.Is(i + 2, "bit");
    if (!bits && !call.Is(i + 2, "byte")) {
      call.SyntaxError();
      return false;
    }
  }
  const int64_t total = bits ? bytes * 8 : bytes;
  if (start < 0) start = std::max<int64_t>(start + total, 0);
  if (end < 0) end = std::max<int64_t>(end + total, 0);
  end = std::min(end, total - 1);
  range->first = bits ? start : start * 8;
  range->last = bits ? end : end * 8 + 7;
  return true;
}

int64_t CountBits(std::string_view bytes, BitRange range) {
  int64_t count = 0;
  for (int64_t bit = range.first; bit <= range.last;) {
    if (bit % 8 == 0 && bit + 7 <= range.last) {
      count += std::popcount(static_cast<unsigned char>(bytes[static_cast<size_t>(bit / 8)]));
      bit += 8;
    } else {
      count += BitAt(bytes, bit++) ? 1 : 0;
    }
  }
  return count;
}

void BitCount(Call& call) {
  const Bytes* bytes;
  if (!call.Read(call[1], &bytes)) return;
  if (bytes == nullptr) return call.reply().Integer(0);
  if (call.size() == 3 || call.size() > 5) return call.SyntaxError();
  BitRange range;
  if (!ReadRange(call, 2, static_cast<int64_t>(bytes->size()), &range)) return;
  call.reply().Integer(CountBits(*bytes, range));
}

// The first bit of `value` in the range, or -1.
int64_t FindBit(std::string_view bytes, BitRange range, bool value) {
  const char skipped = value ? '\0' : '\xff';
  for (int64_t bit = range.first; bit <= range.last;) {
    if (bit % 8 == 0 && bit + 7 <= range.last && bytes[static_cast<size_t>(bit / 8)] == skipped) {
      bit += 8;
      continue;
    }
    if (BitAt(bytes, bit) == value) return bit;
    ++bit;
  }
  return -1;
}

void BitPos(Call& call) {
  int64_t value = 0;
  if (!call.Integer(2, &value)) return;
  if (value != 0 && value != 1) {
    return call.reply().Error("ERR The bit argument must be 1 or 0.");
  }
  if (call.size() > 6) return call.SyntaxError();
  const Bytes* bytes;
  if (!call.Read(call[1], &bytes)) return;
  if (bytes == nullptr) return call.reply().Integer(value == 1 ? -1 : 0);
  BitRange range;
  if (!ReadRange(call, 3, static_cast<int64_t>(bytes->size()), &range)) return;
  if (range.first > range.last) return call.reply().Integer(-1);
  int64_t found = FindBit(*bytes, range, value == 1);
  // Without an end the string counts as followed by zeros.
  if (found < 0 && value == 0 && !range.has_end) found = range.last + 1;
  call.reply().Integer(found);
}

void BitOp(Call& call) {
  const bool negate = call.Is(1, "not");
  const bool both = call.Is(1, "and");
  const bool either = call.Is(1, "or");
  if (!negate && !both && !either && !call.Is(1, "xor")) return call.SyntaxError();
  if (negate && call.size() != 4) {
    return call.reply().Error("ERR BITOP NOT must be called with a single source key.");
  }
  std::vector<std::string_view> sources;
  size_t size = 0;
  for (size_t i = 3; i < call.size(); ++i) {
    const Bytes* bytes;
    if (!call.Read(call[i], &bytes)) return;
    sources.push_back(bytes == nullptr ? std::string_view() : std::string_view(*bytes));
    size = std::max(size, sources.back().size());
  }
  Bytes result(size, '\0');
  for (size_t at = 0; at < size; ++at) {
    auto byte_of = [at](std::string_view s) {
      return at < s.size() ? static_cast<unsigned char>(s[at]) : 0u;
    };
    unsigned byte = byte_of(sources[0]);
    for (size_t i = 1; i < sources.size(); ++i) {
      const unsigned other = byte_of(sources[i]);
      byte = both ? byte & other : either ? byte | other : byte ^ other;
    }
    result[at] = static_cast<char>(negate ? ~byte : byte);
  }
  if (result.empty()) {
    call.Erase(call[2]);
  } else {
    call.Replace(call[2], Value(std::move(result)));
    call.Modified(call[2]);
  }
  call.reply().Integer(static_cast<int64_t>(size));
}

constexpr Command kCommands[] = {
    {"getbit", 3, kReadOnly | kFast, 1, 1, 1, Group::kBitmap, GetBit, "Get a bit"},
    {"setbit", 4, kWrite | kDenyOom, 1, 1, 1, Group::kBitmap, SetBit, "Set a bit"},
    {"bitcount", -2, kReadOnly, 1, 1, 1, Group::kBitmap, BitCount, "Count the bits that are set"},
    {"bitpos", -3, kReadOnly, 1, 1, 1, Group::kBitmap, BitPos, "Find a bit"},
    {"bitop", -4, kWrite | kDenyOom, 2, -1, 1, Group::kBitmap, BitOp, "Combine strings bit by bit"},
};

}  // namespace

absl::Span<const Command> BitCommands() { return kCommands; }

}  // namespace liveexec::demo
