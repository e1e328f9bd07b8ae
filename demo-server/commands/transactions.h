// What other commands need of transactions.
#ifndef LIVEEXEC_DEMO_SERVER_COMMANDS_TRANSACTIONS_H_
#define LIVEEXEC_DEMO_SERVER_COMMANDS_TRANSACTIONS_H_

#include "demo-server/engine/engine.h"

namespace liveexec::demo {

// Ends the session's transaction, if any, and its watches, without running anything.
void DropTransaction(Engine& engine, Session& session);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_COMMANDS_TRANSACTIONS_H_
