@0xd3f1c6a2b94e7085;
# The journal, as the manifest carries it and the control socket shows it: handoff/journal.h says what the
# fields mean.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("liveexec");

struct PhaseTimeImage {
  phase @0 :Text;
  startNs @1 :Int64;     # CLOCK_MONOTONIC
  durationNs @2 :Int64;
}

struct JournalEntryImage {
  upgrade @0 :UInt64;
  trigger @1 :Text;
  binary @2 :Text;
  fromVersion @3 :Text;
  toVersion @4 :Text;
  outcome @5 :UInt8;     # Outcome
  code @6 :Text;
  message @7 :Text;
  failedPhase @8 :Text;
  startedUnixNs @9 :Int64;
  blackoutNs @10 :Int64;
  pid @11 :UInt32;
  fds @12 :UInt32;
  stateBytes @13 :UInt64;
  fdsLeftBehind @14 :List(Text);
  phases @15 :List(PhaseTimeImage);
  notes @16 :List(Text);
  binaryIdentity @17 :Text;
}

struct JournalImage {
  entries @0 :List(JournalEntryImage);  # the oldest first
}

struct RestartImage {
  # What a program leaves with its supervisor for the next start: handoff/supervision.h.
  journal @0 :JournalImage;
  upgradesAttempted @1 :UInt64;
  servingSinceUnixNs @2 :Int64;  # this program: since its start, or its exec
  undecided @3 :JournalEntryImage;  # an upgrade under way, whose flight recorder is kept as well
}
