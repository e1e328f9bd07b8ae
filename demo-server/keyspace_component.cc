#include "demo-server/keyspace_component.h"

#include <mutex>

#include "core/error.h"

namespace liveexec::demo {

absl::Status KeyspaceComponent::Export(ExportContext& context) const {
  std::lock_guard lock(engine_.mutex());
  format_.WriteKeyspace(
      engine_, [&] { return context.SliceIsSpent(); }, context.InitRoot<capnp::AnyPointer>());
  return absl::OkStatus();
}

absl::Status KeyspaceComponent::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(auto root, context.Root<capnp::AnyPointer>());
  std::lock_guard lock(engine_.mutex());
  return format_.ReadKeyspace(root, engine_);
}

}  // namespace liveexec::demo
