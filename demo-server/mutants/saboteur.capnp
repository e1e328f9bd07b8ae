@0x9c1f4f0a77d3b6e2;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::mutants::image");

struct Saboteur {
  upgrades @0 :UInt32;  # how many there were before the one under way
  child @1 :Int32;
  locked @2 :Bool;
}
