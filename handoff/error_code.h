// Error codes: stable names for operators and scripts, beside the sentence that a Status carries.
#ifndef LIVEEXEC_HANDOFF_ERROR_CODE_H_
#define LIVEEXEC_HANDOFF_ERROR_CODE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace liveexec {

// A status whose CodeOf() is `code` ("E_NOENT"; the list is in docs/errors.md). `message` is one
// sentence that says what is wrong and what to do.
absl::Status CodedError(std::string_view code, absl::StatusCode status_code,
                        std::string_view message);

// `status` with `code`, unless it has one already: the one nearest to the cause wins.
absl::Status WithCode(const absl::Status& status, std::string_view code);

// The code, or "E_INTERNAL" for an error without one, or "" for ok.
std::string CodeOf(const absl::Status& status);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_ERROR_CODE_H_
