#include "handoff/guarded_call.h"

#include <kj/exception.h>

#include <exception>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

absl::Status Thrown(std::string_view what, std::string_view text) {
  return CodedError("E_EXCEPTION", absl::StatusCode::kInternal,
                    absl::StrCat(std::string(what), " threw: ", std::string(text)));
}

absl::Status NoMemory(std::string_view what) {
  return CodedError("E_MEMORY", absl::StatusCode::kResourceExhausted,
                    absl::StrCat(std::string(what),
                                 ": there is no memory for it: free some, or "
                                 "raise the process's limit"));
}

// Made while there is memory, and never destroyed: a copy takes none.
const absl::Status& no_memory_for_a_message = *new absl::Status(NoMemory("a message"));

absl::Status Describe(std::string_view what, absl::FunctionRef<absl::Status()> call) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return NoMemory(what);
  } catch (const kj::Exception& exception) {
    // Cap'n Proto's own word for a system call that failed for want of something.
    if (exception.getType() == kj::Exception::Type::OVERLOADED) return NoMemory(what);
    return Thrown(what, exception.getDescription().cStr());
  } catch (const std::exception& exception) {
    return Thrown(what, exception.what());
  } catch (...) {
    return Thrown(what, "something that is not a std::exception");
  }
}

}  // namespace

absl::Status CatchingCall(std::string_view what, absl::FunctionRef<absl::Status()> call) {
  try {
    return Describe(what, call);
  } catch (const std::bad_alloc&) {
    return no_memory_for_a_message;
  }
}

absl::Status GuardedCall(std::string_view what, absl::FunctionRef<absl::Status()> call) {
  return CatchingCall(what, [&] { return Annotate(call(), what); });
}

}  // namespace liveexec
