#include "handoff/testing/scripted_component.h"

#include "core/error.h"
#include "handoff/testing/test_image.capnp.h"

namespace liveexec {
namespace {

absl::Status Result(const std::function<absl::Status()>& fault) {
  return fault ? fault() : absl::OkStatus();
}

}  // namespace

absl::Status ScriptedComponent::Initialize() {
  calls.push_back("initialize");
  return Result(on_initialize);
}

absl::Status ScriptedComponent::Export(ExportContext& context) const {
  if (has_state) {
    auto image = context.InitRoot<testing_image::TestImage>();
    image.setValue(value);
    image.setText("state of " + name_);
  }
  for (const auto& [role, fd] : fds) {
    LIVEEXEC_RETURN_IF_ERROR(context.CarryFd(role.first, role.second, fd.get()));
  }
  for (const CarriedFd& carried : also_carry) {
    LIVEEXEC_RETURN_IF_ERROR(context.CarryFd(carried.role, carried.number, carried.fd));
  }
  return Result(on_export);
}

absl::Status ScriptedComponent::Rehydrate(ImportContext& context) {
  calls.push_back("rehydrate");
  schema_version = context.schema_version();
  rehearsal = context.rehearsal();
  if (context.has_root()) {
    LIVEEXEC_ASSIGN_OR_RETURN(auto image, context.Root<testing_image::TestImage>());
    value = image.getValue();
  }
  for (const char* role : {"client", "listener"}) {
    for (uint64_t number : context.FdNumbers(role)) {
      LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd(role, number));
      fds[{role, number}] = std::move(fd);
    }
  }
  return Result(on_rehydrate);
}

absl::Status ScriptedComponent::SelfCheck() {
  calls.push_back("check");
  return Result(on_self_check);
}

}  // namespace liveexec
