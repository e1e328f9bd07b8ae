#include "handoff/guarded_call.h"

#include <kj/exception.h>

#include <exception>
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

}  // namespace

absl::Status GuardedCall(std::string_view what, absl::FunctionRef<absl::Status()> call) {
  try {
    return Annotate(call(), what);
  } catch (const kj::Exception& exception) {
    return Thrown(what, exception.getDescription().cStr());
  } catch (const std::exception& exception) {
    return Thrown(what, exception.what());
  } catch (...) {
    return Thrown(what, "something that is not a std::exception");
  }
}

}  // namespace liveexec
