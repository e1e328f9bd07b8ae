#include "handoff/error_code.h"

#include "absl/strings/cord.h"

namespace liveexec {
namespace {
constexpr char kCodePayload[] = "liveexec/code";
absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }
}  // namespace

absl::Status CodedError(std::string_view code, absl::StatusCode status_code,
                        std::string_view message) {
  absl::Status status(status_code, View(message));
  status.SetPayload(kCodePayload, absl::Cord(View(code)));
  return status;
}

absl::Status WithCode(const absl::Status& status, std::string_view code) {
  if (status.ok() || status.GetPayload(kCodePayload)) return status;
  absl::Status coded = status;
  coded.SetPayload(kCodePayload, absl::Cord(View(code)));
  return coded;
}

std::string CodeOf(const absl::Status& status) {
  if (status.ok()) return "";
  auto payload = status.GetPayload(kCodePayload);
  return payload ? std::string(*payload) : "E_INTERNAL";
}

}  // namespace liveexec
