// Run: main() of every version.
#ifndef LIVEEXEC_DEMO_SERVER_RUN_H_
#define LIVEEXEC_DEMO_SERVER_RUN_H_

#include "demo-server/state/state_format.h"
#include "handoff/component.h"

namespace liveexec::demo {

// Returns the exit code: 0 after SIGTERM, SIGINT or SHUTDOWN. `addition`, if given (borrowed), is
// registered as a component before the server's own.
int Run(int argc, char** argv, const StateFormat& format, Component* addition = nullptr);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_RUN_H_
