# What a bulk set (bulk_records.h) says of itself in the image of its component.
@0xc26b9d0f51c7a3e8;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::image");

struct BulkSet {
  chunks @0 :List(Chunk);
  kinds @1 :UInt64;            # bit n: there are records of kind n, a number that the component gives
  weight @2 :UInt64;           # of the live records, on the component's own scale; 0: it has none

  struct Chunk {
    message @0 :UInt32;        # of the escrow: the one that holds this chunk's fd
    records @1 :UInt32;
    size @2 :UInt64;           # of the file
    headerChecksum @3 :UInt64; # so that no other chunk can take its place
    firstHash @4 :UInt64;
    lastHash @5 :UInt64;
    marked @6 :UInt32;         # live records that are marked
    live @7 :Data;             # bit n: record n is part of the state; empty: all are
  }
}
