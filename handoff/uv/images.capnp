@0xcb5bd011b1404c27;
# The images of the ready-made libuv components. They evolve by adding fields only: a reader of any age
# understands them. What they mean: the headers beside this file; how they are carried: docs/protocol.md.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::uv::image");

struct Stream {
  # One connection. Its fd is carried as ("stream", id).
  id @0 :UInt64;
  listener @1 :UInt32;   # index in StreamServer.listeners
  loop @2 :UInt32;       # index of the loop that it belonged to
  unread @3 :List(Data); # input that the handler did not consume: pieces of one sequence of bytes
  unsent @4 :List(Data); # output that the kernel did not take
  opened @5 :Bool;       # false: accepted, but no handler has seen it yet
  paused @6 :Bool;       # the handler stopped reading
  ended @7 :Bool;        # the peer's end was read and reported
  closeAfterFlush @8 :Bool;
  shutdownWanted @9 :Bool;  # half-close when `unsent` is sent
  shutdownDone @10 :Bool;
  state @11 :AnyPointer;    # what StreamHandler::Save wrote; null if nothing
  wasCold @12 :Bool;        # a cold set may hold its socket as well: to end it takes shutdown()
}

struct Listener {
  # Its fd is carried as ("listener", index in the list).
  path @0 :Text;    # of a UNIX socket; empty for TCP, whose address the kernel knows
  stopped @1 :Bool; # no fd: it only keeps its place
}

struct StreamServer {
  listeners @0 :List(Listener);
  streams @1 :List(Stream);  # in the order of their ids
  nextId @2 :UInt64;
  loops @3 :UInt32;          # how many there were
  coldSets @4 :List(ColdSet);
}

struct ColdSet {
  # Idle connections, put aside ahead of the blackout. Carried as ("cold-events", index in the list), an epoll
  # set; ("cold-escrow", index), an fd channel whose message n holds batch n's sockets; and ("cold-records",
  # index), a sealed memfd.
  loop @0 :UInt32;
  batches @1 :List(Batch);

  struct Batch {
    offset @0 :UInt64;         # in the memfd, in bytes, of a message whose root is a ColdBatch
    length @1 :UInt64;
    checksum @2 :UInt64;       # XXH3-64 of the message
    present @3 :List(Bool);    # false: it was taken out again before the blackout
  }
}

struct ColdBatch {
  streams @0 :List(Stream);    # in the order of their fds in the escrow's message
}

struct Pipes {
  struct Pipe {
    name @0 :Text;
    stream @1 :Stream;
  }
  pipes @0 :List(Pipe);
  nextId @1 :UInt64;
}

struct Timers {
  struct Timer {
    name @0 :Text;
    number @1 :UInt64;
    deadlineNs @2 :Int64;  # CLOCK_MONOTONIC
    repeatNs @3 :Int64;    # 0: fires once
  }
  timers @0 :List(Timer);
}

struct ChildProcesses {
  struct Child {
    pid @0 :Int32;
    tag @1 :Data;      # the application's
  }
  children @0 :List(Child);  # pidfd carried as ("pidfd", pid)
}

struct UdpSockets {
  struct Datagram {
    bytes @0 :Data;
    peer @1 :Data;     # a sockaddr of this machine
  }
  struct Socket {
    name @0 :Text;
    queue @1 :List(Datagram);  # not sent yet, oldest first
  }
  sockets @0 :List(Socket);    # fd carried as ("socket", index in the list)
}

struct Files {
  struct File {
    name @0 :Text;
    path @1 :Text;     # as it was opened, for display
  }
  files @0 :List(File);  # fd carried as ("file", index in the list)
}
