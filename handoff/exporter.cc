#include "handoff/exporter.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"

namespace liveexec {
namespace {

std::string FdName(const std::string& component, const CarriedFd& carried) {
  return absl::StrCat(component, "/", carried.role, "/", carried.number);
}

// AlreadyExists when two of `fds` have the same role and number. Found here, where abandoning the
// upgrade costs nothing; the new program would find it too, and roll back.
absl::Status CheckUnique(const std::string& component, const std::vector<CarriedFd>& fds) {
  using Key = std::pair<std::string_view, uint64_t>;
  std::vector<Key> keys;
  keys.reserve(fds.size());
  for (const CarriedFd& carried : fds) keys.emplace_back(carried.role, carried.number);
  if (!std::is_sorted(keys.begin(), keys.end())) std::sort(keys.begin(), keys.end());
  auto twin = std::adjacent_find(keys.begin(), keys.end());
  if (twin == keys.end()) return absl::OkStatus();
  return CodedError("E_FD", absl::StatusCode::kAlreadyExists,
                    absl::StrCat("two fds are to be carried as ", component, "/",
                                 std::string(twin->first), "/", twin->second));
}

}  // namespace

absl::StatusOr<Exported> Exporter::Export(absl::Span<Component* const> components,
                                          const Successor& successor, int64_t slice_end_ns) {
  Exported exported;
  for (Component* component : components) {
    LIVEEXEC_RETURN_IF_ERROR(
        WithCode(ExportOne(*component, successor, slice_end_ns, exported), "E_EXPORT"));
  }
  return exported;
}

absl::Status Exporter::ExportOne(Component& component, const Successor& successor,
                                 int64_t slice_end_ns, Exported& exported) {
  Exported::Part part;
  part.name = std::string(component.name());
  const ComponentSchema* schema = note_.FindComponent(part.name);
  if (schema != nullptr) part.schema_version = schema->writes;
  part.context = std::make_unique<ExportContext>();
  part.context->set_slice_end_ns(slice_end_ns);
  part.context->set_successor(successor);
  LIVEEXEC_RETURN_IF_ERROR(GuardedCall(absl::StrCat("export component ", part.name),
                                       [&] { return component.Export(*part.context); }));
  for (const std::string& note : part.context->notes()) exported.notes.push_back(note);
  if (part.context->omitted()) return absl::OkStatus();
  size_t first = exported.entries.size();
  LIVEEXEC_RETURN_IF_ERROR(AddFds(part.name, *part.context, successor, exported));
  // A rehearsal gets stand-ins, on which nothing is locked.
  if (slice_end_ns == 0) LIVEEXEC_RETURN_IF_ERROR(AddLocks(part.name, first, exported));
  exported.parts.push_back(std::move(part));
  return absl::OkStatus();
}

absl::Status Exporter::AddFds(const std::string& name, const ExportContext& context,
                              const Successor& successor, Exported& exported) {
  LIVEEXEC_RETURN_IF_ERROR(CheckUnique(name, context.fds()));
  exported.entries.reserve(exported.entries.size() + context.fds().size());
  FdKind before = FdKind::kUnknown;
  for (const CarriedFd& carried : context.fds()) {
    auto identity = inspector_.InspectAgain(carried.fd);
    // What is alike stands in rows: the first of each is looked at in full.
    if (identity.ok() && SharesInode(identity->kind) && identity->kind != before) {
      identity = inspector_.Inspect(carried.fd);
    }
    if (!identity.ok()) {
      return WithCode(Annotate(identity.status(), absl::StrCat("carry ", FdName(name, carried))),
                      "E_FD");
    }
    before = identity->kind;
    if (std::string_view why = WhyNotCarriable(identity->kind); !why.empty()) {
      return CodedError("E_FD", absl::StatusCode::kFailedPrecondition,
                        absl::StrCat(FdName(name, carried), ": ", std::string(why)));
    }
    exported.entries.push_back(
        {.component = name, .role = carried.role, .number = carried.number, .identity = *identity});
    exported.fds.push_back(carried.fd);
    if (!carried.lend || !successor.rehearsal) continue;
    exported.entries.back().lent = true;
    LIVEEXEC_RETURN_IF_ERROR(Lend(exported.entries.back(), carried.fd, exported));
  }
  return absl::OkStatus();
}

// A duplicate would share the open file, and with it the right to write.
absl::Status Exporter::Lend(const FdEntry& entry, int fd, Exported& exported) {
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  UniqueFd lent(entry.identity.kind == FdKind::kMemfd
                    ? syscalls_.Open(path.c_str(), O_RDONLY | O_CLOEXEC)
                    : -EINVAL);
  if (!lent) {
    return WithCode(ErrnoError(-lent.get(), absl::StrCat("lend ", entry.component, "/", entry.role,
                                                         "/", entry.number, " to a rehearsal")),
                    "E_FD");
  }
  exported.lent.push_back(std::move(lent));
  return absl::OkStatus();
}

// Of the files among the entries from `first` on: exec takes them from this process, and the next
// program gives them back to it.
absl::Status Exporter::AddLocks(const std::string& name, size_t first, Exported& exported) {
  for (size_t i = first; i < exported.entries.size(); ++i) {
    const FdEntry& entry = exported.entries[i];
    if (entry.identity.kind != FdKind::kFile) continue;
    auto locks = LocksOf(syscalls_, exported.fds[i]);
    if (!locks.ok()) {
      // Without memory or a fd it is as with an image; otherwise it is the locks' own fault.
      const char* code = ErrnoOf(locks.status()).has_value() ? "E_MEMORY" : "E_LOCK";
      return WithCode(Annotate(locks.status(), absl::StrCat("list the locks of ", name, "/",
                                                            entry.role, "/", entry.number)),
                      code);
    }
    for (FileLock& lock : *locks) {
      lock.entry = static_cast<uint32_t>(i);
      exported.locks.push_back(lock);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Sealed> Exporter::Seal(Exported exported, const ImageStamp& stamp,
                                      Manifest manifest) {
  Sealed sealed;
  for (Exported::Part& part : exported.parts) {
    ComponentRecord record{.name = part.name,
                           .schema_version = part.schema_version,
                           .has_image = part.context->has_root()};
    if (record.has_image) {
      std::string file_name = absl::StrCat("liveexec-", part.name);
      auto image = WriteImage(syscalls_, file_name.c_str(), stamp, part.context->message());
      if (!image.ok()) {
        return WithCode(Annotate(image.status(), absl::StrCat("write the image of ", part.name)),
                        "E_MEMORY");
      }
      record.length = image->length;
      record.checksum = image->checksum;
      sealed.state_bytes += image->length;
      sealed.images.push_back(*std::move(image));
    }
    manifest.components.push_back(std::move(record));
  }
  manifest.fds = std::move(exported.entries);
  manifest.locks = std::move(exported.locks);
  manifest.current.fds = static_cast<uint32_t>(manifest.fds.size());
  manifest.current.state_bytes = sealed.state_bytes;
  capnp::MallocMessageBuilder message;
  WriteManifest(manifest, message.initRoot<image::Manifest>());
  auto written = WriteImage(syscalls_, "liveexec-manifest", stamp, message);
  if (!written.ok()) return WithCode(Annotate(written.status(), "write the manifest"), "E_MEMORY");
  sealed.manifest = *std::move(written);
  LIVEEXEC_RETURN_IF_ERROR(ReadBack(sealed, stamp));
  sealed.fds = std::move(exported.fds);
  sealed.lent = std::move(exported.lent);
  return sealed;
}

// An image that cannot be read is found here, where the old program still has the state: the new
// one could only roll back, to an old one that reads the same image.
absl::Status Exporter::ReadBack(const Sealed& sealed, const ImageStamp& stamp) {
  auto check = [&](const WrittenImage& written) -> absl::Status {
    LIVEEXEC_ASSIGN_OR_RETURN(ImageFile image,
                              ImageFile::Open(syscalls_, written.fd.get(), &stamp));
    if (image.length() == written.length && image.checksum() == written.checksum) {
      return absl::OkStatus();
    }
    return CodedError("E_CHECKSUM", absl::StatusCode::kDataLoss,
                      "an image is not what was written");
  };
  for (const WrittenImage& image : sealed.images) {
    LIVEEXEC_RETURN_IF_ERROR(Annotate(check(image), "read an image back"));
  }
  return Annotate(check(sealed.manifest), "read the manifest back");
}

absl::StatusOr<Sent> Exporter::Send(Sealed sealed, FdChannelEnds channel, int recorder,
                                    int own_program) {
  Sent sent;
  auto send = [&](absl::Span<const int> batch) {
    absl::Status status = SendFdBatch(syscalls_, channel.sender.get(), batch);
    if (!status.ok()) {
      return WithCode(Annotate(status, absl::StrCat("batch ", sent.batches)), "E_FDPUSH");
    }
    ++sent.batches;
    return absl::OkStatus();
  };
  // The order of BootstrapFd.
  LIVEEXEC_RETURN_IF_ERROR(send({sealed.manifest.fd.get(), recorder, own_program}));
  std::vector<int> fds;
  fds.reserve(sealed.images.size() + sealed.fds.size());
  for (const WrittenImage& image : sealed.images) fds.push_back(image.fd.get());
  fds.insert(fds.end(), sealed.fds.begin(), sealed.fds.end());
  absl::Span<const int> left(fds);
  while (!left.empty()) {
    size_t count = std::min(left.size(), kFdsPerBatch);
    LIVEEXEC_RETURN_IF_ERROR(send(left.subspan(0, count)));
    left.remove_prefix(count);
  }
  sent.channel = std::move(channel);
  sent.sealed = std::move(sealed);
  return sent;
}

}  // namespace liveexec
