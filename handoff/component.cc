#include "handoff/component.h"

#include "absl/strings/str_cat.h"

namespace liveexec {

absl::Status ExportContext::CarryFd(std::string_view role, uint64_t number, int fd) {
  if (fd < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot carry fd ", fd, " as ", std::string(role), ": it is not open"));
  }
  fds_.push_back({std::string(role), number, fd});
  return absl::OkStatus();
}

absl::Status ImportContext::NoRoot() const {
  return absl::DataLossError(absl::StrCat("the image of component ", component_, " has no root"));
}

}  // namespace liveexec
