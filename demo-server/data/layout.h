// The layout of the data in resident memory.
#ifndef LIVEEXEC_DEMO_SERVER_DATA_LAYOUT_H_
#define LIVEEXEC_DEMO_SERVER_DATA_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "core/resident_region.h"
#include "demo-server/data/keyspace.h"

namespace liveexec::demo {

// The version of what the compiler does not see: raise it when a member, a hash or an order means
// something else than it did, whether or not sizes change. A program goes on with the memory of
// those whose fingerprint it has; between others the key space is exported.
inline constexpr uint64_t kDataLayoutVersion = 1;

// Of v0, whose data are to cross to later versions by way of an export, so that this is done and
// tested.
inline constexpr uint64_t kOldDataLayoutVersion = 0;

// Nodes have a base class with members, for which the standard leaves offsetof to the compilers;
// all of ours have it.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
constexpr uint64_t DataLayout(uint64_t version) {
  return ResidentLayout("demo-server-data", version)
      .Type<Keyspace>()
      .Type<Database>()
      .Type<Dict<Entry>>()
      .Type<DictNode<Entry>>()
      .Type<Entry>()
      .Number(offsetof(Entry, expires_at))
      .Number(offsetof(Entry, accessed_at))
      .Number(offsetof(Entry, value))
      .Type<Value>()
      .Type<Bytes>()
      .Type<List>()
      .Type<Hash>()
      .Type<Field>()
      .Number(offsetof(Field, value))
      .Type<Set>()
      .Type<SetNode>()
      .Type<SortedSet>()
      .Type<Member>()
      .Number(offsetof(Member, score))
      .Type<ScoreIndex>()
      .Number(Keyspace::kDatabases)
      .fingerprint();
}
#pragma GCC diagnostic pop

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_DATA_LAYOUT_H_
