// ControlStatus as Cap'n Proto. Private to control_frame.cc, which catches what malformed messages
// throw.
#ifndef LIVEEXEC_HANDOFF_CONTROL_STATUS_IMAGE_H_
#define LIVEEXEC_HANDOFF_CONTROL_STATUS_IMAGE_H_

#include "absl/status/statusor.h"
#include "handoff/control.capnp.h"
#include "handoff/control_frame.h"

namespace liveexec {

void ToImage(const ControlStatus& status, control::Status::Builder image);
absl::StatusOr<ControlStatus> FromImage(control::Status::Reader image);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONTROL_STATUS_IMAGE_H_
