// libuv's negative codes as absl::Status.
#ifndef LIVEEXEC_HANDOFF_UV_UV_ERROR_H_
#define LIVEEXEC_HANDOFF_UV_UV_ERROR_H_

#include <string_view>

#include "absl/status/status.h"

namespace liveexec::uv {

// Ok for `code` >= 0. A system error has its errno attached (ErrnoOf in core/error.h); UV_EOF is
// OutOfRange, the resolver's codes (UV_EAI_*) are NotFound or Unavailable.
absl::Status UvError(int code, std::string_view what);

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_UV_ERROR_H_
