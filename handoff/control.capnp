@0xa8c0d7e15b3f9264;
# The control socket's messages, and what of it crosses an upgrade. Each message is one frame: its length in
# bytes as a little-endian 32-bit number, then a Cap'n Proto flat array. docs/protocol.md describes the order.

using Cxx = import "/capnp/c++.capnp";
using Journal = import "/handoff/journal.capnp";
$Cxx.namespace("liveexec::control");

struct Request {
  id @0 :UInt64;  # chosen by the client, repeated in every response to this request
  union {
    status @1 :Void;
    history @2 :HistoryRequest;
    upgrade @3 :UpgradeRequest;
    cancel @4 :Void;
    rollback @5 :Void;
    doctor @6 :Void;
  }
}

struct HistoryRequest {
  limit @0 :UInt32;  # the newest so many; 0 for all
}

struct UpgradeRequest {
  binary @0 :Text;           # empty: the server's own default
  maxBlackoutNs @1 :Int64;   # 0: the server's own budget
  allowDowngrade @2 :Bool;   # to a lower security epoch
  sha256 @3 :Text;           # hexadecimal; refuse any other file; empty: any
  toPrevious @4 :Bool;       # instead of binary: the program before this one
}

struct Response {
  id @0 :UInt64;  # 0 when the request could not be read
  union {
    error @1 :Error;                              # final
    progress @2 :Progress;                        # of an upgrade; more follows
    result @3 :Journal.JournalEntryImage;         # of an upgrade: final
    status @4 :Status;
    history @5 :List(Journal.JournalEntryImage);  # the oldest first
    done @6 :Void;                                # cancel, rollback
    doctor @7 :Text;
  }
}

struct Error {
  code @0 :Text;     # "E_BUSY"
  message @1 :Text;  # one sentence
}

struct Progress {
  phase @0 :Text;
  state @1 :State;
  durationNs @2 :Int64;  # 0 while it lasts
  detail @3 :Text;

  enum State {
    started @0;
    finished @1;
  }
}

struct Component {
  name @0 :Text;
  writes @1 :UInt32;
  readsOldest @2 :UInt32;
}

struct Program {
  application @0 :Text;
  version @1 :Text;
  frameworkAbi @2 :UInt32;
  securityEpoch @3 :UInt64;
  components @4 :List(Component);
  droppedComponents @5 :List(Text);
  buildId @6 :Text;
  residentLayouts @7 :List(ResidentLayout);
}

struct ResidentLayout {
  component @0 :Text;
  fingerprint @1 :UInt64;
}

struct Status {
  program @0 :Program;
  pid @1 :UInt32;
  generation @2 :UInt64;
  startedUnixNs @3 :Int64;
  programStartedUnixNs @4 :Int64;
  threads @5 :UInt32;
  phase @6 :Text;
  lastResult @7 :Journal.JournalEntryImage;  # null: there was none
  upgradeBinary @8 :Text;
  controlPath @9 :Text;
}

# What crosses an upgrade. The fds are carried as "listener" and ("client", Connection.id).
struct ServerImage {
  path @0 :Text;
  listening @1 :Bool;
  socketDevice @2 :UInt64;  # of the socket's file, so that only our own is ever unlinked
  socketInode @3 :UInt64;
  nextConnection @4 :UInt64;
  connections @5 :List(Connection);
}

struct Connection {
  id @0 :UInt64;
  unread @1 :Data;   # received, not yet a whole frame or not yet answered
  unsent @2 :Data;   # answered, not yet accepted by the kernel
  waitsForUpgrade @3 :Bool;
  upgradeRequest @4 :UInt64;  # Request.id
  noMoreInput @5 :Bool;       # the client closed its sending half
  closing @6 :Bool;           # to be closed once `unsent` is sent
}
