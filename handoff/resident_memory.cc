#include "handoff/resident_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/syscalls.h"
#include "handoff/error_code.h"
#include "handoff/resident.capnp.h"

namespace liveexec {
namespace {

constexpr char kRole[] = "region";

capnp::Data::Reader ToData(const ResidentNonce& bytes) { return {bytes.data(), bytes.size()}; }

absl::Status Malformed() {
  return CodedError("E_RESIDENT", absl::StatusCode::kDataLoss,
                    "the image of resident memory is malformed");
}

bool FromData(capnp::Data::Reader data, ResidentNonce& bytes) {
  if (data.size() != bytes.size()) return false;
  memcpy(bytes.data(), data.begin(), bytes.size());
  return true;
}

// The code that says what kind of refusal it is.
absl::Status WithResidentCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kAlreadyExists:
      return WithCode(status, "E_ADDRESS");
    case absl::StatusCode::kDataLoss:
      return WithCode(status, "E_TORN");
    default:
      return WithCode(status, "E_RESIDENT");
  }
}

}  // namespace

ResidentMemory::ResidentMemory(ResidentMemoryOptions options) : options_(std::move(options)) {
  options_.shards = std::clamp(options_.shards, 1U, kMostShards);
}

absl::Status ResidentMemory::Initialize() {
  if (options_.capacity == 0) return absl::OkStatus();
  Syscalls& syscalls = Syscalls::Kernel();
  uint64_t capacity = options_.capacity;
  if (capacity == kAsMuchAsThereIs) {
    capacity = DefaultResidentCapacity(syscalls) / options_.shards;
  }
  for (uint32_t i = 0; i < options_.shards; ++i) {
    auto region = ResidentRegion::Create(syscalls, options_.layout, capacity);
    if (!region.ok()) return WithCode(region.status(), "E_RESIDENT");
    regions_.push_back(*std::move(region));
  }
  return absl::OkStatus();
}

absl::Status ResidentMemory::Quiesce() {
  if (getrandom(nonce_.data(), nonce_.size(), 0) != static_cast<ssize_t>(nonce_.size())) {
    return ErrnoError(errno, "getrandom");
  }
  for (ResidentRegion& region : regions_) {
    LIVEEXEC_RETURN_IF_ERROR(WithResidentCode(region.Quiesce(nonce_)));
  }
  return absl::OkStatus();
}

void ResidentMemory::Resume() {
  for (ResidentRegion& region : regions_) region.Resume();
}

void ResidentMemory::NotePath(ExportContext& context) const {
  if (regions_.empty() || context.snapshot()) return;
  if (!CrossesTo(context.successor())) {
    context.Note(absl::StrCat(options_.name,
                              ": resident memory stays behind, its content was exported: the "
                              "candidate does not read its layout, or cannot have its address"));
    return;
  }
  uint64_t used = 0;
  for (const ResidentRegion& region : regions_) used += region.heap().usage().used;
  // A rehearsal cannot walk what changes while the server runs.
  context.Note(absl::StrCat(options_.name, ": ", used, " bytes of resident memory crossed in ",
                            regions_.size(),
                            " fds; address, header and layout can be rehearsed, its content not"));
}

absl::Status ResidentMemory::Export(ExportContext& context) const {
  NotePath(context);
  if (!CrossesTo(context.successor())) {
    context.Omit();
    return absl::OkStatus();
  }
  auto image = context.InitRoot<image::ResidentMemory>();
  image.setLayout(options_.layout);
  auto shards = image.initShards(static_cast<unsigned>(regions_.size()));
  for (unsigned i = 0; i < shards.size(); ++i) {
    const ResidentRegion& region = regions_[i];
    const ResidentPlace place = region.place();
    shards[i].setBase(place.base);
    shards[i].setCapacity(place.capacity);
    shards[i].setId(ToData(place.id));
    if (!context.snapshot()) {
      LIVEEXEC_RETURN_IF_ERROR(WithResidentCode(region.Unchanged()));
      shards[i].setNonce(ToData(nonce_));
    }
    LIVEEXEC_RETURN_IF_ERROR(context.LendFd(kRole, i, region.fd()));
  }
  return absl::OkStatus();
}

absl::Status ResidentMemory::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(auto image, context.Root<image::ResidentMemory>());
  auto shards = image.getShards();
  if (shards.size() == 0 || shards.size() > kMostShards) return Malformed();
  rehearsal_ = context.rehearsal();
  for (unsigned i = 0; i < shards.size(); ++i) {
    ResidentPlace place{.layout = options_.layout,
                        .base = shards[i].getBase(),
                        .capacity = shards[i].getCapacity(),
                        .id = {}};
    ResidentNonce nonce = {};
    if (!FromData(shards[i].getId(), place.id)) return Malformed();
    if (!rehearsal_ && !FromData(shards[i].getNonce(), nonce)) return Malformed();
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd(kRole, i));
    Syscalls& syscalls = Syscalls::Kernel();
    auto region = rehearsal_ ? ResidentRegion::AttachLive(syscalls, std::move(fd), place)
                             : ResidentRegion::Attach(syscalls, std::move(fd), place, nonce);
    if (!region.ok()) return WithResidentCode(region.status());
    context.NoteProtected(place.base, place.base + place.capacity);
    regions_.push_back(*std::move(region));
  }
  arrived_ = !rehearsal_;
  return absl::OkStatus();
}

void ResidentMemory::Committed() {
  for (ResidentRegion& region : regions_) {
    // Regions that Initialize made are writable already, which does no harm. The kernel has nothing
    // to allocate for this, so it fails for good only when somebody unmapped the region; then
    // nothing that is in it can be served.
    constexpr int kTries = 10;
    for (int tries = 1; !region.MakeWritable().ok(); ++tries) {
      if (tries == kTries) abort();
    }
  }
}

}  // namespace liveexec
