# The state of demo-server v0.
#
# Fields are only ever added, so every version reads the images of every other one: a field that the writer did
# not know has its default, one that the reader does not know is lost. The numbers of the notes (main_*.cc)
# change only when that stops being true. This is the oldest one.
@0xd630ffe0775d5168;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::demo::v0");

struct KeyspaceImage {
  hashSeed @0 :UInt64;         # SCAN cursors that clients hold depend on it
  databases @1 :List(Database);
  nextSessionId @2 :UInt64;
  startedMs @3 :Int64;         # Unix time at which the first program started
  commands @4 :UInt64;
  connections @5 :UInt64;
  parameters @6 :List(Parameter);  # that CONFIG SET changed
}

struct Parameter {
  name @0 :Data;
  value @1 :Data;
}

# One of the sixteen; its keys in iteration order, in pieces, since a list has a limit; or copied ahead.
struct Database {
  chunks @0 :List(KeyChunk);
  ahead @1 :AnyPointer;        # a BulkSet of handoff/bulk.capnp whose records are Keys; absent: all are in chunks
}

struct KeyChunk {
  keys @0 :List(Key);
}

struct Key {
  name @0 :Data;
  expiresAtMs @1 :Int64 = -1;  # Unix time; -1 for never
  value :union {
    string @2 :Data;
    longString @3 :List(Data);  # the pieces of one that is too long for Data
    list @4 :List(Data);
    set @5 :List(Data);
    sortedSet @6 :List(ScoredMember);
    hash @7 :List(Field);
  }
}

struct ScoredMember {
  member @0 :Data;
  score @1 :Float64;
}

struct Field {
  name @0 :Data;
  value @1 :Data;
}

struct SessionImage {
  id @0 :UInt64;
  name @1 :Data;
  database @2 :UInt16;
  protocol @3 :UInt8 = 2;
  address @4 :Data;
  localAddress @5 :Data;
  replyMode @6 :UInt8;
  noEvict @7 :Bool;
  noTouch @8 :Bool;
  monitor @9 :Bool;
  closeAfterOutput @10 :Bool;
  killed @11 :Bool;
  output @12 :List(Data);      # not yet given to the connection, in pieces
  transaction @13 :Transaction;
  watched @14 :List(WatchedKey);
  outdated @15 :Bool;          # a watched key was modified
  channels @16 :List(Data);
  patterns @17 :List(Data);
  shardChannels @18 :List(Data);
  blocked @19 :Blocked;
  # Numbers that later versions had given away when the rest was added.
  later20 @20 :Int64;
  later21 @21 :Int64;
  later22 @22 :Data;
  later23 @23 :Data;
  later24 @24 :Data;
  later25 @25 :UInt64;
  authenticated @26 :Bool = true;
  tracking @27 :Tracking;
}

# Absent: CLIENT TRACKING is off.
struct Tracking {
  broadcast @0 :Bool;
  optIn @1 :Bool;
  optOut @2 :Bool;
  noLoop @3 :Bool;
  redirect @4 :UInt64;         # to the client of this number; 0: to itself
  prefixes @5 :List(Data);
  keys @6 :List(Data);         # that the client was told since, not to broadcasting
  caching @7 :UInt8;           # CachingHint of engine/session.h
}

# Absent: no MULTI.
struct Transaction {
  refused @0 :Bool;
  commands @1 :List(Arguments);
}

struct Arguments {
  arguments @0 :List(Data);
}

struct WatchedKey {
  database @0 :UInt16;
  key @1 :Data;
}

# Absent: not blocked.
struct Blocked {
  operation @0 :UInt8;         # BlockingOperation of engine/session.h
  fromFront @1 :Bool;
  toFront @2 :Bool;
  count @3 :Int64;
  destination @4 :Data;
  keys @5 :List(Data);
  deadlineMs @6 :Int64;        # CLOCK_MONOTONIC; 0 for never
  sequence @7 :UInt64;         # who came first
}
