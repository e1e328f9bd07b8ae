@0x9a3c5d71e2f0b684;
# For tests: something of everything that a message may hold.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::testing_image");

struct TestImage {
  value @0 :UInt64;
  text @1 :Text;
  children @2 :List(TestImage);
  anything @3 :AnyPointer;
}
