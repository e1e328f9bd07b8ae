// ScoreIndex: the members of a sorted set in order, found by rank or by bound.
//
// Ranks count from 0. The members are in chunks of up to kChunk pointers: a change moves at most
// that many, and finding a rank adds up the sizes of the chunks before it (a million members: some
// microseconds). Members are borrowed: their dictionary owns them.
#ifndef LIVEEXEC_DEMO_SERVER_DATA_SCORE_INDEX_H_
#define LIVEEXEC_DEMO_SERVER_DATA_SCORE_INDEX_H_

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "demo-server/data/dict.h"
#include "demo-server/data/storage.h"

namespace liveexec::demo {

struct Member : DictNode<Member> {
  explicit Member(double s) : score(s) {}
  double score;
};

// The order of a sorted set: by score, then by bytes.
inline bool MemberLess(const Member& a, const Member& b) {
  if (a.score != b.score) return a.score < b.score;
  return a.key() < b.key();
}

class ScoreIndex {
 private:
  static constexpr size_t kChunk = 256;
  using Chunk = StoredVector<Member*>;

  template <typename AnyChunk>
  static auto PositionIn(AnyChunk& chunk, const Member& member) {
    return std::partition_point(chunk.begin(), chunk.end(),
                                [&](const Member* other) { return MemberLess(*other, member); });
  }

 public:
  size_t size() const { return size_; }

  void Insert(Member* member) {
    if (chunks_.empty()) {
      chunks_.push_back(Chunk(1, member));
      size_ = 1;
      return;
    }
    const size_t at = ChunkOf(*member);
    Chunk& chunk = chunks_[at];
    chunk.insert(PositionIn(chunk, *member), member);
    ++size_;
    if (chunk.size() > kChunk) Split(at);
  }

  // `member` must be there, with the score that it was inserted with.
  void Erase(const Member* member) {
    const size_t at = ChunkOf(*member);
    Chunk& chunk = chunks_[at];
    chunk.erase(PositionIn(chunk, *member));
    --size_;
    if (chunk.empty()) chunks_.erase(chunks_.begin() + static_cast<ptrdiff_t>(at));
  }

  size_t RankOf(const Member& member) const {
    const size_t at = ChunkOf(member);
    size_t rank = 0;
    for (size_t i = 0; i < at; ++i) rank += chunks_[i].size();
    const Chunk& chunk = chunks_[at];
    return rank + static_cast<size_t>(PositionIn(chunk, member) - chunk.begin());
  }

  Member* At(size_t rank) const {
    const auto [at, offset] = Locate(rank);
    return chunks_[at][offset];
  }

  // The rank of the first member for which before(member) is false. before must be true for a
  // prefix only.
  template <typename Before>
  size_t PartitionPoint(Before before) const {
    size_t rank = 0;
    for (const Chunk& chunk : chunks_) {
      if (before(*chunk.back())) {
        rank += chunk.size();
        continue;
      }
      auto found = std::partition_point(chunk.begin(), chunk.end(),
                                        [&](const Member* member) { return before(*member); });
      return rank + static_cast<size_t>(found - chunk.begin());
    }
    return rank;
  }

  // Calls visit(Member*) for `count` members from `rank` on, downwards when `reverse`. They must
  // exist; visit may not change the index.
  template <typename Visit>
  void ForRange(size_t rank, size_t count, bool reverse, Visit visit) const {
    if (count == 0) return;
    auto [at, offset] = Locate(rank);
    while (true) {
      visit(chunks_[at][offset]);
      if (--count == 0) return;
      if (reverse) {
        if (offset == 0) offset = chunks_[--at].size();
        --offset;
      } else if (++offset == chunks_[at].size()) {
        ++at;
        offset = 0;
      }
    }
  }

 private:
  // The chunk where `member` is or belongs: the first one that does not end before it.
  size_t ChunkOf(const Member& member) const {
    auto found = std::partition_point(chunks_.begin(), chunks_.end(), [&](const Chunk& chunk) {
      return MemberLess(*chunk.back(), member);
    });
    if (found == chunks_.end()) return chunks_.size() - 1;
    return static_cast<size_t>(found - chunks_.begin());
  }
  std::pair<size_t, size_t> Locate(size_t rank) const {
    size_t at = 0;
    while (rank >= chunks_[at].size()) rank -= chunks_[at++].size();
    return {at, rank};
  }
  void Split(size_t at) {
    Chunk upper(chunks_[at].begin() + kChunk / 2, chunks_[at].end());
    chunks_[at].resize(kChunk / 2);
    chunks_.insert(chunks_.begin() + static_cast<ptrdiff_t>(at) + 1, std::move(upper));
  }

  StoredVector<Chunk> chunks_;  // none of them is empty
  size_t size_ = 0;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_DATA_SCORE_INDEX_H_
