// Wreckage: the last resort. The old program could not even rebuild what it wrote itself; the state
// is put into files, so that people can look at it, before the process ends.
#ifndef LIVEEXEC_HANDOFF_WRECKAGE_H_
#define LIVEEXEC_HANDOFF_WRECKAGE_H_

#include <string>

#include "absl/status/statusor.h"
#include "core/syscalls.h"
#include "handoff/inheritance.h"

namespace liveexec {

// Copies the manifest and all images out of the channel into a new directory (mode 0700) below
// TMPDIR or /tmp: manifest.image, 0.image, 1.image... in the manifest's order. Returns its path.
// Image files have the format of docs/protocol.md. Errors carry the errno.
absl::StatusOr<std::string> KeepWreckage(Syscalls& syscalls, const Inheritance& inheritance);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_WRECKAGE_H_
