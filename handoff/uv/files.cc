#include "handoff/uv/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/uv/images.capnp.h"

namespace liveexec::uv {
namespace {

absl::Status Quiesced() {
  return absl::FailedPreconditionError("files are quiesced for an upgrade");
}

}  // namespace

absl::Status Files::Open(std::string_view file, const std::string& path, int flags, mode_t mode) {
  if (quiesced_) return Quiesced();
  UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return ErrnoError(errno, path);
  return Adopt(file, std::move(fd), path);
}

absl::Status Files::Adopt(std::string_view file, UniqueFd fd, std::string path) {
  if (quiesced_) return Quiesced();
  if (!fd) return absl::InvalidArgumentError("there is no fd to adopt");
  if (fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0) return ErrnoError(errno, path);
  files_.insert_or_assign(std::string(file), File{std::move(fd), std::move(path)});
  return absl::OkStatus();
}

absl::Status Files::Close(std::string_view file) {
  if (quiesced_) return Quiesced();
  if (auto found = files_.find(file); found != files_.end()) files_.erase(found);
  return absl::OkStatus();
}

int Files::fd(std::string_view file) const {
  auto found = files_.find(file);
  return quiesced_ || found == files_.end() ? -1 : found->second.fd.get();
}

std::string Files::path(std::string_view file) const {
  auto found = files_.find(file);
  return found == files_.end() ? "" : found->second.path;
}

absl::Status Files::Append(std::string_view file, std::string_view bytes) {
  if (quiesced_) return Quiesced();
  auto found = files_.find(file);
  if (found == files_.end()) {
    return absl::NotFoundError(absl::StrCat("no file is open as ", std::string(file)));
  }
  while (!bytes.empty()) {
    const ssize_t n = write(found->second.fd.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, found->second.path);
    // A plain file that takes nothing says why; 0 is not among the answers, but must not loop.
    if (n == 0) return ErrnoError(EIO, found->second.path);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status Files::Quiesce() {
  quiesced_ = true;
  return absl::OkStatus();
}

void Files::Resume() { quiesced_ = false; }

absl::Status Files::Export(ExportContext& context) const {
  auto records = context.InitRoot<image::Files>().initFiles(static_cast<unsigned>(files_.size()));
  unsigned i = 0;
  for (const auto& [file, open] : files_) {
    records[i].setName(file);
    records[i].setPath(open.path);
    LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("file", i, open.fd.get()));
    ++i;
  }
  return absl::OkStatus();
}

absl::Status Files::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(const auto image, context.Root<image::Files>());
  const auto records = image.getFiles();
  for (unsigned i = 0; i < records.size(); ++i) {
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd("file", i));
    LIVEEXEC_RETURN_IF_ERROR(
        Adopt(std::string(records[i].getName()), std::move(fd), records[i].getPath()));
  }
  return absl::OkStatus();
}

}  // namespace liveexec::uv
