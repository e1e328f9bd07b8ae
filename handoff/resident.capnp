@0xc0b6a0d2f3a94e17;
# What crosses of a ResidentMemory component: see resident_memory.h. The memory itself is in the fds
# that are carried beside it. Fields are only ever added.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::image");

struct ResidentMemory {
  layout @0 :UInt64;          # fingerprint
  shards @1 :List(Shard);     # shard i is the fd "region", number i

  struct Shard {
    base @0 :UInt64;          # address
    capacity @1 :UInt64;      # bytes
    id @2 :Data;              # 16 bytes: of the region
    nonce @3 :Data;           # 16 bytes: of this crossing; absent in a rehearsal
  }
}
