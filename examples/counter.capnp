@0xb4d0f7a9c15e2368;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("examples");

struct Counter {
  value @0 :UInt64;
}
