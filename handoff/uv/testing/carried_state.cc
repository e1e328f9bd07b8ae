#include "handoff/uv/testing/carried_state.h"

#include <capnp/serialize.h>
#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace liveexec::uv::testing {

absl::StatusOr<CarriedState> CarriedState::Of(const Component& component) {
  CarriedState state;
  state.component_ = std::string(component.name());
  ExportContext context;
  LIVEEXEC_RETURN_IF_ERROR(component.Export(context));
  state.has_root_ = context.has_root();
  if (state.has_root_) state.words_ = capnp::messageToFlatArray(context.message());
  for (const CarriedFd& carried : context.fds()) {
    UniqueFd copy(fcntl(carried.fd, F_DUPFD_CLOEXEC, 3));
    if (!copy) return ErrnoError(errno, absl::StrCat("dup of ", carried.role));
    if (!state.fds_.try_emplace({carried.role, carried.number}, std::move(copy)).second) {
      return absl::AlreadyExistsError(absl::StrCat(carried.role, " ", carried.number));
    }
  }
  return state;
}

absl::Status CarriedState::RehydrateInto(Component& component, bool rehearsal) {
  if (!has_root_) {
    ImportContext context(component_, 1, nullptr, this, rehearsal);
    return component.Rehydrate(context);
  }
  capnp::ReaderOptions options;
  options.traversalLimitInWords = words_.size() * 4 + 1024;
  capnp::FlatArrayMessageReader reader(words_, options);
  ImportContext context(component_, 1, &reader, this, rehearsal);
  return component.Rehydrate(context);
}

absl::StatusOr<UniqueFd> CarriedState::Take(std::string_view, std::string_view role,
                                            uint64_t number) {
  auto found = fds_.find({std::string(role), number});
  if (found == fds_.end()) {
    return absl::NotFoundError(absl::StrCat("no fd ", std::string(role), " ", number));
  }
  UniqueFd fd = std::move(found->second);
  fds_.erase(found);
  return fd;
}

std::vector<uint64_t> CarriedState::Numbers(std::string_view, std::string_view role) const {
  std::vector<uint64_t> numbers;
  for (const auto& [key, fd] : fds_) {
    if (key.first == role) numbers.push_back(key.second);
  }
  return numbers;
}

}  // namespace liveexec::uv::testing
