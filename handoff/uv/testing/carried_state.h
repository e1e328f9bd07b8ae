// CarriedState: an upgrade without exec. Takes what a component exports, the fds as duplicates, as
// SCM_RIGHTS would, and rehydrates another component from it, in the same process.
//
//   old_server.Quiesce(); auto state = CarriedState::Of(old_server);
//   new_server: state->RehydrateInto(new_server); new_server.Activate();
#ifndef LIVEEXEC_HANDOFF_UV_TESTING_CARRIED_STATE_H_
#define LIVEEXEC_HANDOFF_UV_TESTING_CARRIED_STATE_H_

#include <capnp/common.h>
#include <kj/array.h>

#include <map>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "handoff/component.h"

namespace liveexec::uv::testing {

class CarriedState final : private FdSource {
 public:
  // AlreadyExists when a role is carried twice.
  static absl::StatusOr<CarriedState> Of(const Component& component);

  CarriedState(CarriedState&&) = default;

  // Gives the fds away: a second call finds them taken.
  absl::Status RehydrateInto(Component& component, bool rehearsal = false);

  // Those that no Rehydrate has taken.
  size_t fds_left() const { return fds_.size(); }

 private:
  CarriedState() = default;

  absl::StatusOr<UniqueFd> Take(std::string_view component, std::string_view role,
                                uint64_t number) override;
  std::vector<uint64_t> Numbers(std::string_view component, std::string_view role) const override;

  std::string component_;
  bool has_root_ = false;
  kj::Array<capnp::word> words_;
  std::map<std::pair<std::string, uint64_t>, UniqueFd> fds_;
};

}  // namespace liveexec::uv::testing

#endif  // LIVEEXEC_HANDOFF_UV_TESTING_CARRIED_STATE_H_
