@0xd9c1b7e2f04a6853;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("examples");

struct RawEcho {
  struct Client {
    number @0 :UInt64;
    unsent @1 :Data;
  }
  clients @0 :List(Client);
  nextNumber @1 :UInt64;
  reportDeadlineNs @2 :Int64;
}
