// Errors that carry the system's errno, so that a caller can tell ENOSPC from EPERM without parsing
// text.
#ifndef LIVEEXEC_CORE_ERROR_H_
#define LIVEEXEC_CORE_ERROR_H_

#include <optional>
#include <string_view>

#include "absl/status/status.h"

namespace liveexec {

// A status made from `error` (an errno value, positive) whose text is "<what>: <strerror>" and
// whose errno ErrnoOf() gives back.
absl::Status ErrnoError(int error, std::string_view what);

// The errno that `status` was made from, or nothing.
std::optional<int> ErrnoOf(const absl::Status& status);

// `status` with "<context>: " before its message; code and payloads are kept.
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace liveexec

// Returns from the enclosing function when `expression` (an absl::Status) is not ok.
#define LIVEEXEC_RETURN_IF_ERROR(expression)                                    \
  do {                                                                          \
    if (::absl::Status liveexec_status_ = (expression); !liveexec_status_.ok()) \
      return liveexec_status_;                                                  \
  } while (false)

#define LIVEEXEC_CONCAT_INNER_(a, b) a##b
#define LIVEEXEC_CONCAT_(a, b) LIVEEXEC_CONCAT_INNER_(a, b)

// LIVEEXEC_ASSIGN_OR_RETURN(auto value, MakeStatusOr());
#define LIVEEXEC_ASSIGN_OR_RETURN(declaration, expression) \
  LIVEEXEC_ASSIGN_OR_RETURN_(LIVEEXEC_CONCAT_(liveexec_or_, __LINE__), declaration, expression)
#define LIVEEXEC_ASSIGN_OR_RETURN_(temporary, declaration, expression) \
  auto temporary = (expression);                                       \
  if (!temporary.ok()) return std::move(temporary).status();           \
  declaration = *std::move(temporary)

#endif  // LIVEEXEC_CORE_ERROR_H_
