@0xd1f0a1c2b7e94a53;
# The manifest: see manifest.h. Fields are only ever added, so that programs of different ages read each other.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::image");

using Journal = import "/handoff/journal.capnp";

struct Manifest {
  frameworkAbi @0 :UInt32;
  application @1 :Text;
  version @2 :Text;
  generation @3 :UInt64;
  upgradesAttempted @4 :UInt64;
  upgradeBinary @5 :Text;
  blackoutStartNs @6 :Int64;
  components @7 :List(Component);
  roles @8 :List(Role);
  fds @9 :List(Fd);
  traits @10 :Traits;
  current @11 :Journal.JournalEntryImage;
  history @12 :List(Journal.JournalEntryImage);
  processStartedUnixNs @13 :Int64;
  locks @14 :List(Lock);

  struct Component {
    name @0 :Text;
    schemaVersion @1 :UInt32;
    hasImage @2 :Bool;
    length @3 :UInt64;
    checksum @4 :UInt64;
  }

  struct Role {
    # Said once for all fds that share it.
    component @0 :Text;
    role @1 :Text;
  }

  struct Fd {
    # In the order of the channel.
    role @0 :UInt32;      # index into roles
    kind @1 :UInt16;      # FdKind
    number @2 :UInt64;
    device @3 :UInt64;
    inode @4 :UInt64;
    socketCookie @5 :UInt64;
    lent @6 :Bool;        # for a rehearsal: it is in the channel, read-only
  }

  struct Lock {
    # A POSIX lock on a carried file, to be taken again: see file_locks.h.
    entry @0 :UInt32;     # index into fds
    exclusive @1 :Bool;
    start @2 :Int64;      # bytes
    length @3 :Int64;     # bytes; 0: to the end
  }

  struct Traits {
    arguments @0 :List(Data);
    environment @1 :List(Data);
    commandName @2 :Data;
    blockedSignals @3 :UInt64;
    ignoredSignals @4 :UInt64;
    rlimits @5 :List(Rlimit);
    dumpable @6 :Bool;
  }

  struct Rlimit {
    resource @0 :Int32;
    soft @1 :UInt64;
    hard @2 :UInt64;
  }
}
