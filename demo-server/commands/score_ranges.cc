#include "demo-server/commands/score_ranges.h"

namespace liveexec::demo {
namespace {

bool ReadScoreBound(std::string_view text, double* bound, bool* excluded) {
  *excluded = !text.empty() && text[0] == '(';
  return ParseDouble(*excluded ? text.substr(1) : text, bound);
}

bool ReadLexBound(std::string_view text, LexBound* bound) {
  if (text == "-") {
    bound->kind = LexBound::kFirst;
  } else if (text == "+") {
    bound->kind = LexBound::kLast;
  } else if (!text.empty() && (text[0] == '[' || text[0] == '(')) {
    bound->kind = text[0] == '[' ? LexBound::kIncluded : LexBound::kExcluded;
    bound->bytes = text.substr(1);
  } else {
    return false;
  }
  return true;
}

bool BelowMin(std::string_view key, const LexBound& min) {
  switch (min.kind) {
    case LexBound::kFirst:
      return false;
    case LexBound::kLast:
      return true;
    case LexBound::kIncluded:
      return key < min.bytes;
    case LexBound::kExcluded:
      return key <= min.bytes;
  }
  return false;
}

bool WithinMax(std::string_view key, const LexBound& max) {
  switch (max.kind) {
    case LexBound::kFirst:
      return false;
    case LexBound::kLast:
      return true;
    case LexBound::kIncluded:
      return key <= max.bytes;
    case LexBound::kExcluded:
      return key < max.bytes;
  }
  return false;
}

IndexRange Between(size_t first, size_t end) {
  return first < end ? IndexRange{first, end - first} : IndexRange{};
}

}  // namespace

bool AnyRange::Read(Call& call, RangeBy by, size_t min, size_t max) {
  by_ = by;
  switch (by) {
    case RangeBy::kRank:
      return call.Integer(min, &start_) && call.Integer(max, &stop_);
    case RangeBy::kScore:
      if (ReadScoreBound(call[min], &scores_.min, &scores_.min_excluded) &&
          ReadScoreBound(call[max], &scores_.max, &scores_.max_excluded)) {
        return true;
      }
      call.reply().Error("ERR min or max is not a float");
      return false;
    case RangeBy::kLex:
      if (ReadLexBound(call[min], &lex_.min) && ReadLexBound(call[max], &lex_.max)) return true;
      call.reply().Error("ERR min or max not valid string range item");
      return false;
  }
  return false;
}

IndexRange AnyRange::In(const SortedSet& set, bool reverse) const {
  const ScoreIndex& index = set.index();
  switch (by_) {
    case RangeBy::kRank: {
      IndexRange range = ClipRange(start_, stop_, set.size());
      if (reverse && range.count > 0) range.first = set.size() - range.first - range.count;
      return range;
    }
    case RangeBy::kScore:
      return Between(index.PartitionPoint([&](const Member& member) {
        return scores_.min_excluded ? member.score <= scores_.min : member.score < scores_.min;
      }),
                     index.PartitionPoint([&](const Member& member) {
                       return scores_.max_excluded ? member.score < scores_.max
                                                   : member.score <= scores_.max;
                     }));
    case RangeBy::kLex:
      return Between(index.PartitionPoint(
                         [&](const Member& member) { return BelowMin(member.key(), lex_.min); }),
                     index.PartitionPoint(
                         [&](const Member& member) { return WithinMax(member.key(), lex_.max); }));
  }
  return {};
}

}  // namespace liveexec::demo
