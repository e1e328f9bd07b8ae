// KeyspaceComponent: carries the databases and the statistics.
#ifndef LIVEEXEC_DEMO_SERVER_KEYSPACE_COMPONENT_H_
#define LIVEEXEC_DEMO_SERVER_KEYSPACE_COMPONENT_H_

#include <string_view>

#include "demo-server/engine/engine.h"
#include "demo-server/state/state_format.h"
#include "handoff/component.h"

namespace liveexec::demo {

// To be registered before the component of the connections, whose sessions build on it.
class KeyspaceComponent final : public Component {
 public:
  // Both borrowed.
  KeyspaceComponent(Engine& engine, const StateFormat& format) : engine_(engine), format_(format) {}

  std::string_view name() const override { return "keyspace"; }
  absl::Status Export(ExportContext& context) const override;
  absl::Status Rehydrate(ImportContext& context) override;

 private:
  Engine& engine_;
  const StateFormat& format_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_KEYSPACE_COMPONENT_H_
