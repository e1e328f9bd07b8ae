#include "handoff/component.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/clock.h"
#include "handoff/program_note.h"

namespace liveexec {

bool ExportContext::SliceIsSpent() {
  if (slice_end_ns_ == 0 || slice_spent_) return slice_spent_;
  // Reading the clock costs as much as a small record: look every 16th time.
  if (slice_asked_++ % 16 != 0) return false;
  slice_spent_ = MonotonicNs() >= slice_end_ns_;
  return slice_spent_;
}

absl::Status ExportContext::CarryFd(std::string_view role, uint64_t number, int fd) {
  if (fd < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot carry fd ", fd, " as ", std::string(role), ": it is not open"));
  }
  fds_.push_back({std::string(role), number, fd});
  return absl::OkStatus();
}

absl::Status ExportContext::LendFd(std::string_view role, uint64_t number, int fd) {
  absl::Status status = CarryFd(role, number, fd);
  if (status.ok()) fds_.back().lend = true;
  return status;
}

bool Successor::Reads(std::string_view component, uint64_t fingerprint) const {
  return note != nullptr && !portable_only && note->ReadsResidentLayout(component, fingerprint);
}

void ImportContext::NoteProtected(uint64_t begin, uint64_t end) {
  protected_begin_ = protected_end_ == 0 ? begin : std::min(protected_begin_, begin);
  protected_end_ = std::max(protected_end_, end);
}

absl::Status ImportContext::NoRoot() const {
  return absl::DataLossError(absl::StrCat("the image of component ", component_, " has no root"));
}

}  // namespace liveexec
