// SpawnProcess: one child, started by posix_spawn with nothing of ours but what the spec says. For
// ChildProcesses.
#ifndef LIVEEXEC_HANDOFF_UV_SPAWN_H_
#define LIVEEXEC_HANDOFF_UV_SPAWN_H_

#include "absl/status/statusor.h"
#include "handoff/uv/child_processes.h"

namespace liveexec::uv {

// `spec.tag` is not looked at. The caller has to wait for the child. posix_spawn uses vfork
// semantics, so the cost does not grow with our memory.
absl::StatusOr<SpawnedChild> SpawnProcess(const ChildSpec& spec);

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_SPAWN_H_
