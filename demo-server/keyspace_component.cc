#include "demo-server/keyspace_component.h"

#include <mutex>

#include "core/error.h"

namespace liveexec::demo {

// From here on the data are in resident memory: a key space without any is its root.
void KeyspaceComponent::BeginInMemory() {
  storage_heap = &memory_.heap();
  Keyspace* keyspace = MakeStored<Keyspace>(engine_.keyspace().seed()).release();
  storage_heap->set_root(keyspace);
  engine_.UseKeyspace(keyspace);
}

absl::Status KeyspaceComponent::Initialize() {
  std::lock_guard lock(engine_.mutex());
  if (memory_.has_heap()) BeginInMemory();
  return absl::OkStatus();
}

absl::Status KeyspaceComponent::Export(ExportContext& context) const {
  std::lock_guard lock(engine_.mutex());
  const bool in_memory = memory_.Crosses(context);
  format_.WriteKeyspace(
      engine_, [&] { return in_memory || context.SliceIsSpent(); },
      context.InitRoot<capnp::AnyPointer>());
  return absl::OkStatus();
}

absl::Status KeyspaceComponent::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(auto root, context.Root<capnp::AnyPointer>());
  std::lock_guard lock(engine_.mutex());
  if (memory_.arrived()) {
    storage_heap = &memory_.heap();
    auto* keyspace = static_cast<Keyspace*>(storage_heap->root());
    if (keyspace == nullptr) return absl::DataLossError("resident memory has no key space");
    engine_.UseKeyspace(keyspace);
  } else if (memory_.has_heap()) {
    BeginInMemory();
  }
  return format_.ReadKeyspace(root, engine_);
}

}  // namespace liveexec::demo
