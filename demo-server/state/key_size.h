// What a key takes in the tables of this program, computed from its record: what the room for keys
// that are still pending is reckoned by. Included by state_format_impl.h.
//
// It is what loading allocates, exactly but for lists and sorted sets, whose order of insertion
// decides it: there it is what it takes at most, within some percent. The sum crosses as the weight
// of a database's records, so a version whose data take more has to add the difference when it
// reads that (PendingKeys::Open).
#ifndef LIVEEXEC_DEMO_SERVER_STATE_KEY_SIZE_H_
#define LIVEEXEC_DEMO_SERVER_STATE_KEY_SIZE_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/resident_heap.h"
#include "demo-server/data/keyspace.h"
#include "demo-server/data/value.h"

namespace liveexec::demo {

inline size_t SizeOfBytes(size_t size) {
  constexpr size_t kInPlace = 15;
  return size <= kInPlace ? 0 : ResidentHeap::CapacityOf(size + 1);
}

template <typename Node>
size_t SizeOfNode(size_t key_size) {
  return ResidentHeap::CapacityOf(sizeof(Node) + key_size);
}

// Without the strings in it. A deque has blocks of 512 bytes, and a map of them that doubles.
inline size_t SizeOfList(size_t count) {
  constexpr size_t kBlockBytes = 512;
  constexpr size_t kLeastMap = 8;
  const size_t blocks = count / (kBlockBytes / sizeof(Bytes)) + 1;
  return ResidentHeap::CapacityOf(sizeof(List)) + blocks * ResidentHeap::CapacityOf(kBlockBytes) +
         ResidentHeap::CapacityOf(std::max(kLeastMap, blocks + 2) * sizeof(void*));
}

// A vector of up to 256 members, which doubles; beyond that vectors of 512, half full or more.
inline size_t SizeOfScoreIndex(size_t count) {
  constexpr size_t kChunk = 256;
  const size_t chunks = count / (kChunk * 3 / 4) + 1;
  const size_t capacity = count <= kChunk ? std::bit_ceil(count) : 2 * kChunk;
  return chunks *
         (ResidentHeap::CapacityOf(capacity * sizeof(Member*)) + 2 * sizeof(StoredVector<Member*>));
}

template <typename ValueReader>
uint64_t ValueSizeOf(ValueReader value) {
  using Which = decltype(value.which());
  uint64_t size = 0;
  switch (value.which()) {
    case Which::STRING:
      return SizeOfBytes(value.getString().size());
    case Which::LONG_STRING:
      for (auto piece : value.getLongString()) size += piece.size();
      return SizeOfBytes(size);
    case Which::LIST:
      size = SizeOfList(value.getList().size());
      for (auto element : value.getList()) size += SizeOfBytes(element.size());
      return size;
    case Which::SET:
      size =
          ResidentHeap::CapacityOf(sizeof(Set)) + Dict<SetNode>::TablesFor(value.getSet().size());
      for (auto member : value.getSet()) size += SizeOfNode<SetNode>(member.size());
      return size;
    case Which::SORTED_SET:
      size = ResidentHeap::CapacityOf(sizeof(SortedSet)) +
             Dict<Member>::TablesFor(value.getSortedSet().size()) +
             SizeOfScoreIndex(value.getSortedSet().size());
      for (auto member : value.getSortedSet())
        size += SizeOfNode<Member>(member.getMember().size());
      return size;
    case Which::HASH:
      size =
          ResidentHeap::CapacityOf(sizeof(Hash)) + Dict<Field>::TablesFor(value.getHash().size());
      for (auto field : value.getHash()) {
        size += SizeOfNode<Field>(field.getName().size()) + SizeOfBytes(field.getValue().size());
      }
      return size;
  }
  return size;
}

template <typename KeyReader>
uint64_t KeySizeOf(KeyReader key) {
  return SizeOfNode<Entry>(key.getName().size()) + ValueSizeOf(key.getValue());
}

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_STATE_KEY_SIZE_H_
