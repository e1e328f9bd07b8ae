// demo-server, version 0.
#include "demo-server/data/layout.h"
#include "demo-server/run.h"
#include "demo-server/state/state_format.h"
#include "handoff/program_note.h"

LIVEEXEC_APPLICATION("demo-server", "v0");
LIVEEXEC_COMPONENT("memory", 1, 1);
LIVEEXEC_RESIDENT_LAYOUT("memory",
                         liveexec::demo::DataLayout(liveexec::demo::kOldDataLayoutVersion));
LIVEEXEC_COMPONENT("keyspace", 1, 1);
LIVEEXEC_COMPONENT("clients", 1, 1);
LIVEEXEC_COMPONENT("signals", 1, 1);

int main(int argc, char** argv) {
  return liveexec::demo::Run(argc, argv, liveexec::demo::StateFormatV0());
}
