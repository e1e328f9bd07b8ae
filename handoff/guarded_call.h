// GuardedCall: the border that exceptions do not cross.
//
// Cap'n Proto validates lazily, so reading a malformed image throws on field access; an
// application's component may throw too. Both become a Status here, and only here.
#ifndef LIVEEXEC_HANDOFF_GUARDED_CALL_H_
#define LIVEEXEC_HANDOFF_GUARDED_CALL_H_

#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace liveexec {

// Runs `call`. What it returns is returned with "<what>: " before the message of an error. An
// exception that leaves it becomes an Internal error with the code E_EXCEPTION and the exception's
// text, or ResourceExhausted with E_MEMORY when there was no memory.
absl::Status GuardedCall(std::string_view what, absl::FunctionRef<absl::Status()> call);

// The same for what is our own, and throws only for want of memory: an error that it returns stays
// as it is. Throws nothing itself, even where there is no memory for a message.
absl::Status CatchingCall(std::string_view what, absl::FunctionRef<absl::Status()> call);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_GUARDED_CALL_H_
