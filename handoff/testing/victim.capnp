@0xc41f7be20a5d3896;
# The state of the victim (victim.cc).

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::testing_image");

struct VictimImage {
  value @0 :UInt64;
}
