// LCS: the longest common subsequence of two strings.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

struct Options {
  bool length_only = false;
  bool indices = false;
  bool match_lengths = false;
  int64_t shortest_match = 0;
};

bool ReadOptions(Call& call, Options* options) {
  for (size_t i = 3; i < call.size(); ++i) {
    if (call.Is(i, "idx")) {
      options->indices = true;
    } else if (call.Is(i, "len")) {
      options->length_only = true;
    } else if (call.Is(i, "withmatchlen")) {
      options->match_lengths = true;
    } else if (call.Is(i, "minmatchlen") && i + 1 < call.size()) {
      if (!call.Integer(++i, &options->shortest_match)) return false;
      options->shortest_match = std::max<int64_t>(options->shortest_match, 0);
    } else {
      call.SyntaxError();
      return false;
    }
  }
  if (options->indices && options->length_only) {
    call.reply().Error("ERR If you want both the length and indexes, please just use IDX.");
    return false;
  }
  return true;
}

// The lengths of the common subsequences of all prefixes.
class Lengths {
 public:
  Lengths(std::string_view a, std::string_view b)
      : columns_(b.size() + 1), cells_((a.size() + 1) * columns_) {
    for (size_t i = 1; i <= a.size(); ++i) {
      for (size_t j = 1; j <= b.size(); ++j) {
        cells_[i * columns_ + j] =
            a[i - 1] == b[j - 1] ? At(i - 1, j - 1) + 1 : std::max(At(i - 1, j), At(i, j - 1));
      }
    }
  }
  uint32_t At(size_t i, size_t j) const { return cells_[i * columns_ + j]; }

 private:
  size_t columns_;
  std::vector<uint32_t> cells_;
};

// A run of equal bytes: a[a_first...] and b[b_first...].
struct Match {
  size_t a_first = 0;
  size_t b_first = 0;
  size_t size = 0;
};

// From the end to the start, as they are replied.
std::vector<Match> FindMatches(std::string_view a, std::string_view b, const Lengths& lengths,
                               std::string* common) {
  std::vector<Match> matches;
  size_t i = a.size();
  size_t j = b.size();
  bool adjacent = false;
  while (i > 0 && j > 0) {
    if (a[i - 1] == b[j - 1]) {
      if (!adjacent) matches.push_back({i, j, 0});
      Match& match = matches.back();
      match = {--i, --j, match.size + 1};
      common->push_back(a[i]);
      adjacent = true;
      continue;
    }
    adjacent = false;
    if (lengths.At(i - 1, j) > lengths.At(i, j - 1)) {
      --i;
    } else {
      --j;
    }
  }
  std::reverse(common->begin(), common->end());
  return matches;
}

void ReplyRange(Reply& reply, size_t first, size_t size) {
  reply.Array(2);
  reply.Integer(static_cast<int64_t>(first));
  reply.Integer(static_cast<int64_t>(first + size - 1));
}

void ReplyIndices(Call& call, const Options& options, std::vector<Match> matches, size_t length) {
  std::erase_if(matches, [&](const Match& match) {
    return static_cast<int64_t>(match.size) < options.shortest_match;
  });
  Reply& reply = call.reply();
  reply.Map(2);
  reply.Bulk("matches");
  reply.Array(matches.size());
  for (const Match& match : matches) {
    reply.Array(options.match_lengths ? 3 : 2);
    ReplyRange(reply, match.a_first, match.size);
    ReplyRange(reply, match.b_first, match.size);
    if (options.match_lengths) reply.Integer(static_cast<int64_t>(match.size));
  }
  reply.Bulk("len");
  reply.Integer(static_cast<int64_t>(length));
}

void Lcs(Call& call) {
  std::string_view text[2];
  for (size_t i = 0; i < 2; ++i) {
    Entry* entry = call.Read(call[i + 1]);
    if (entry == nullptr) continue;
    const Bytes* bytes = entry->value.As<Bytes>();
    if (bytes == nullptr) {
      return call.reply().Error("ERR The specified keys must contain string values");
    }
    text[i] = *bytes;
  }
  Options options;
  if (!ReadOptions(call, &options)) return;
  constexpr size_t kMostCells = size_t{1} << 28;  // 1 GiB
  if ((text[0].size() + 1) > kMostCells / (text[1].size() + 1)) {
    return call.reply().Error(
        "ERR Insufficient memory, failed allocating transient memory for LCS");
  }
  const Lengths lengths(text[0], text[1]);
  const size_t length = lengths.At(text[0].size(), text[1].size());
  if (options.length_only) return call.reply().Integer(static_cast<int64_t>(length));
  std::string common;
  std::vector<Match> matches = FindMatches(text[0], text[1], lengths, &common);
  if (options.indices) return ReplyIndices(call, options, std::move(matches), length);
  call.reply().Bulk(common);
}

constexpr Command kCommands[] = {
    {"lcs", -3, kReadOnly, 1, 2, 1, Group::kString, Lcs, "Longest common subsequence"},
};

}  // namespace

absl::Span<const Command> LcsCommands() { return kCommands; }

}  // namespace liveexec::demo
