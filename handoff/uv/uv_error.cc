#include "handoff/uv/uv_error.h"

#include <uv.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace liveexec::uv {
namespace {

// libuv gives errors that are not the system's numbers from here downwards.
constexpr int kFirstOwnCode = -3000;

}  // namespace

absl::Status UvError(int code, std::string_view what) {
  if (code >= 0) return absl::OkStatus();
  if (code > kFirstOwnCode) return ErrnoError(-code, what);
  const std::string message = absl::StrCat(std::string(what), ": ", uv_strerror(code));
  switch (code) {
    case UV_EOF:
      return absl::OutOfRangeError(message);
    case UV_EAI_AGAIN:
    case UV_EAI_MEMORY:
      return absl::UnavailableError(message);
    case UV_EAI_NONAME:
    case UV_EAI_NODATA:
    case UV_EAI_ADDRFAMILY:
      return absl::NotFoundError(message);
    default:
      return absl::UnknownError(message);
  }
}

}  // namespace liveexec::uv
