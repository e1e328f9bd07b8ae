// Run: main() of every version.
#ifndef LIVEEXEC_DEMO_SERVER_RUN_H_
#define LIVEEXEC_DEMO_SERVER_RUN_H_

#include "demo-server/state/state_format.h"

namespace liveexec::demo {

// Returns the exit code: 0 after SIGTERM, SIGINT or SHUTDOWN.
int Run(int argc, char** argv, const StateFormat& format);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_RUN_H_
