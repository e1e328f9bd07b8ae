#include "handoff/receiver.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/fd_channel.h"
#include "handoff/compatibility.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"
#include "handoff/rollback.h"

namespace liveexec {
namespace {

// What the old program's note must have said, as far as its state is concerned.
ProgramNote NoteOf(const Manifest& manifest) {
  ProgramNote note;
  note.application = manifest.application;
  note.version = manifest.version;
  note.framework_abi = manifest.framework_abi;
  for (const ComponentRecord& component : manifest.components) {
    note.components.push_back({.name = component.name,
                               .writes = component.schema_version,
                               .reads_oldest = component.schema_version});
  }
  return note;
}

absl::Status CheckRegistered(absl::Span<Component* const> components, const Verified& verified) {
  for (const ComponentRecord& record : verified.manifest.components) {
    auto has_name = [&](const Component* component) { return component->name() == record.name; };
    if (std::any_of(components.begin(), components.end(), has_name)) continue;
    const std::vector<std::string>& dropped = verified.dropped;
    if (std::find(dropped.begin(), dropped.end(), record.name) != dropped.end()) continue;
    return CodedError("E_SCHEMA", absl::StatusCode::kFailedPrecondition,
                      absl::StrCat("the state of component ", record.name,
                                   " would be lost: the program lists it, but did not register it "
                                   "before Start"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<UniqueFd>> Receiver::PeekAll(size_t first_batch, size_t count) {
  std::vector<UniqueFd> fds;
  fds.reserve(count);
  for (size_t batch = first_batch; fds.size() < count; ++batch) {
    auto some = PeekFdBatch(syscalls_, inheritance_.channel, batch);
    if (!some.ok()) {
      bool full = absl::IsResourceExhausted(some.status());
      return WithCode(some.status(), full ? "E_FDS" : "E_CHANNEL");
    }
    for (UniqueFd& fd : *some) fds.push_back(std::move(fd));
  }
  if (fds.size() != count) {
    return CodedError("E_CHANNEL", absl::StatusCode::kDataLoss,
                      absl::StrCat("the channel holds ", fds.size(), " fds instead of ", count));
  }
  return fds;
}

absl::StatusOr<FlightRecorder> Receiver::AdoptRecorder() {
  LIVEEXEC_ASSIGN_OR_RETURN(std::vector<UniqueFd> bootstrap, PeekAll(0, kBootstrapFdCount));
  auto recorder = FlightRecorder::Adopt(syscalls_, std::move(bootstrap[kRecorderFd]));
  if (!recorder.ok()) return WithCode(recorder.status(), "E_CHANNEL");
  return recorder;
}

absl::StatusOr<Received> Receiver::Receive() {
  Received received;
  LIVEEXEC_ASSIGN_OR_RETURN(std::vector<UniqueFd> bootstrap, PeekAll(0, kBootstrapFdCount));
  auto recorder = FlightRecorder::Adopt(syscalls_, std::move(bootstrap[kRecorderFd]));
  if (!recorder.ok()) return WithCode(recorder.status(), "E_CHANNEL");
  received.recorder = *std::move(recorder);
  received.old_program = std::move(bootstrap[kOldProgramFd]);

  LIVEEXEC_ASSIGN_OR_RETURN(ImageFile image,
                            ImageFile::Open(syscalls_, bootstrap[kManifestFd].get(), nullptr));
  received.stamp = image.stamp();
  if (received.stamp.nonce != inheritance_.nonce) {
    return CodedError("E_STAMP", absl::StatusCode::kDataLoss,
                      "the manifest belongs to another upgrade");
  }
  LIVEEXEC_ASSIGN_OR_RETURN(received.manifest, ReadManifest(image.message()));

  const Manifest& manifest = received.manifest;
  auto has_image = [](const ComponentRecord& component) { return component.has_image; };
  size_t images = static_cast<size_t>(
      std::count_if(manifest.components.begin(), manifest.components.end(), has_image));
  for (size_t i = 0; i < manifest.fds.size(); ++i) {
    // A rehearsal gets none of the server's own fds, but for those that it is lent for reading.
    if (inheritance_.mode == StartMode::kRehearsal && !manifest.fds[i].lent) continue;
    received.entries.push_back(i);
  }
  const size_t fds = received.entries.size();
  LIVEEXEC_ASSIGN_OR_RETURN(std::vector<UniqueFd> all, PeekAll(1, images + fds));
  auto middle = all.begin() + static_cast<std::ptrdiff_t>(images);
  received.image_fds.assign(std::make_move_iterator(all.begin()), std::make_move_iterator(middle));
  received.fds.assign(std::make_move_iterator(middle), std::make_move_iterator(all.end()));
  LIVEEXEC_RETURN_IF_ERROR(CheckFds(received));
  return received;
}

absl::Status Receiver::CheckFds(const Received& received) {
  FdInspector inspector(syscalls_);
  const auto entry_of = [&](size_t i) -> const FdEntry& {
    return received.manifest.fds[received.entries[i]];
  };
  const auto same_kind = [&](size_t i, size_t j) {
    return j < received.fds.size() && entry_of(i).identity.kind == entry_of(j).identity.kind;
  };
  for (size_t i = 0; i < received.fds.size(); ++i) {
    const FdEntry& entry = entry_of(i);
    // The channel keeps its order, so fds of one kind that were displaced show at the ends of their
    // row. (One of another kind with the same inode, in the place of a single one in the middle,
    // does not; nobody but the old program, who also wrote the table, could have put it there.)
    const bool within_row = same_kind(i, i - 1) && same_kind(i, i + 1);
    absl::Status status =
        inspector.Matches(received.fds[i].get(), entry.identity,
                          within_row ? FdInspector::Depth::kInode : FdInspector::Depth::kAll);
    if (!status.ok()) {
      return WithCode(
          Annotate(status, absl::StrCat(entry.component, "/", entry.role, "/", entry.number)),
          "E_FDTABLE");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Verified> Receiver::Verify(Received received, const ProgramNote& note) {
  LIVEEXEC_RETURN_IF_ERROR(Compare(NoteOf(received.manifest), note).ToStatus());
  Verified verified;
  size_t next = 0;
  for (const ComponentRecord& component : received.manifest.components) {
    if (note.FindComponent(component.name) == nullptr) verified.dropped.push_back(component.name);
    if (!component.has_image) continue;
    auto image = ImageFile::Open(syscalls_, received.image_fds[next++].get(), &received.stamp);
    if (!image.ok()) return Annotate(image.status(), absl::StrCat("image of ", component.name));
    if (image->length() != component.length || image->checksum() != component.checksum) {
      return CodedError(
          "E_CHECKSUM", absl::StatusCode::kDataLoss,
          absl::StrCat("the image of ", component.name, " is not the one that the manifest lists"));
    }
    verified.images.emplace(component.name, *std::move(image));
  }
  verified.manifest = std::move(received.manifest);
  verified.recorder = std::move(received.recorder);
  verified.old_program = std::move(received.old_program);
  verified.fds = std::move(received.fds);
  return verified;
}

absl::Status RehydrateAll(absl::Span<Component* const> components, Verified& verified,
                          FdSource& fds, bool rehearsal) {
  LIVEEXEC_RETURN_IF_ERROR(CheckRegistered(components, verified));
  for (Component* component : components) {
    std::string name(component->name());
    verified.recorder.NoteComponent(name);
    const auto& records = verified.manifest.components;
    auto record = std::find_if(records.begin(), records.end(),
                               [&](const ComponentRecord& r) { return r.name == name; });
    absl::Status status;
    if (record == records.end()) {
      status = GuardedCall(absl::StrCat("initialize component ", name),
                           [&] { return component->Initialize(); });
    } else {
      auto image = verified.images.find(name);
      capnp::MessageReader* message =
          image == verified.images.end() ? nullptr : &image->second.message();
      ImportContext context(name, record->schema_version, message, &fds, rehearsal);
      status = GuardedCall(absl::StrCat("rehydrate component ", name),
                           [&] { return component->Rehydrate(context); });
      verified.recorder.NoteProtected(context.protected_begin(), context.protected_end());
    }
    if (!status.ok()) return WithCode(status, "E_REHYDRATE");
  }
  verified.recorder.NoteComponent("");
  return absl::OkStatus();
}

absl::Status SelfCheckAll(absl::Span<Component* const> components, FlightRecorder& recorder) {
  for (Component* component : components) {
    std::string name(component->name());
    recorder.NoteComponent(name);
    absl::Status status = GuardedCall(absl::StrCat("self-check of component ", name),
                                      [&] { return component->SelfCheck(); });
    if (!status.ok()) return WithCode(status, "E_SELFCHECK");
  }
  recorder.NoteComponent("");
  return absl::OkStatus();
}

}  // namespace liveexec
