// ScriptedComponent: a component that holds a number, a text and fds, and fails when it is told to.
#ifndef LIVEEXEC_HANDOFF_TESTING_SCRIPTED_COMPONENT_H_
#define LIVEEXEC_HANDOFF_TESTING_SCRIPTED_COMPONENT_H_

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/unique_fd.h"
#include "handoff/component.h"

namespace liveexec {

class ScriptedComponent : public Component {
 public:
  explicit ScriptedComponent(std::string name) : name_(std::move(name)) {}

  // State.
  bool has_state = true;  // false: exports no image
  uint64_t value = 0;
  std::map<std::pair<std::string, uint64_t>, UniqueFd> fds;  // by role and number

  // Faults: called at the end of the function of that name; its error or exception is the result.
  std::function<absl::Status()> on_export, on_rehydrate, on_initialize, on_self_check;
  // fds (borrowed) that Export lists besides `fds`.
  std::vector<CarriedFd> also_carry;

  // What was called, in order.
  std::vector<std::string> calls;
  uint32_t schema_version = 0;  // of what was rehydrated
  bool rehearsal = false;

  std::string_view name() const override { return name_; }
  absl::Status Initialize() override;
  absl::Status Export(ExportContext& context) const override;
  absl::Status Rehydrate(ImportContext& context) override;
  absl::Status SelfCheck() override;

 private:
  std::string name_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_TESTING_SCRIPTED_COMPONENT_H_
