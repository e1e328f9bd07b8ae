#include "core/error.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace liveexec {
namespace {
constexpr char kErrnoPayload[] = "liveexec/errno";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }
}  // namespace

absl::Status ErrnoError(int error, std::string_view what) {
  absl::Status status = absl::ErrnoToStatus(error, View(what));
  status.SetPayload(kErrnoPayload, absl::Cord(absl::StrCat(error)));
  return status;
}

std::optional<int> ErrnoOf(const absl::Status& status) {
  auto payload = status.GetPayload(kErrnoPayload);
  int error = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &error)) return std::nullopt;
  return error;
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(View(context), ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& value) { annotated.SetPayload(type, value); });
  return annotated;
}

}  // namespace liveexec
