@0xe5a0c8d1f36b4721;
# The state of the hazardous server.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec::hazards::image");

struct State {
  value @0 :Int64;
  revisions @1 :List(Text);  # of all plugins that have worked on it
}
