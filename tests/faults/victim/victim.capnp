@0xe5bd11a40f8c7d31;
# The victim's own state.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::faults::image");

struct State {
  echoed @0 :UInt64;     # bytes
  pad @1 :Data;          # to make the state as large as a test wants it
  childExits @2 :UInt64; # children whose end was reported
  userSignals @3 :UInt64;
  side @4 :UInt64;       # since schema 2: requests at the side port
}
