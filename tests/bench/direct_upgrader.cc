#include "tests/bench/direct_upgrader.h"

#include "core/error.h"

namespace liveexec::bench {

absl::Status DirectUpgrader::Register(Component& component) {
  components_.push_back(&component);
  return absl::OkStatus();
}

absl::Status DirectUpgrader::Start() {
  for (Component* component : components_) LIVEEXEC_RETURN_IF_ERROR(component->Initialize());
  for (Component* component : components_) component->Activate();
  return absl::OkStatus();
}

}  // namespace liveexec::bench
