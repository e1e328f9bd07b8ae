// KeyspaceComponent: carries the databases and the statistics.
//
// With resident memory the databases are in it; they cross with it, or, when the successor does not
// read its layout, in this component's image, as those on the heap do.
#ifndef LIVEEXEC_DEMO_SERVER_KEYSPACE_COMPONENT_H_
#define LIVEEXEC_DEMO_SERVER_KEYSPACE_COMPONENT_H_

#include <string_view>

#include "demo-server/engine/engine.h"
#include "demo-server/state/state_format.h"
#include "handoff/component.h"
#include "handoff/resident_memory.h"

namespace liveexec::demo {

// To be registered before the component of the connections, whose sessions build on it.
class KeyspaceComponent final : public Component {
 public:
  // All borrowed. `memory` is a component registered before this one.
  KeyspaceComponent(Engine& engine, const StateFormat& format, ResidentMemory& memory)
      : engine_(engine), format_(format), memory_(memory) {}
  // The engine is not used any more.
  ~KeyspaceComponent() override { storage_heap = nullptr; }

  std::string_view name() const override { return "keyspace"; }
  absl::Status Initialize() override;
  absl::Status Export(ExportContext& context) const override;
  absl::Status Rehydrate(ImportContext& context) override;

 private:
  void BeginInMemory();

  Engine& engine_;
  const StateFormat& format_;
  ResidentMemory& memory_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_KEYSPACE_COMPONENT_H_
