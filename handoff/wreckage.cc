#include "handoff/wreckage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/fd_channel.h"
#include "core/sealed_memfd.h"
#include "core/unique_fd.h"
#include "handoff/rollback.h"

namespace liveexec {
namespace {

absl::Status CopyTo(Syscalls& syscalls, int image, const std::string& path) {
  LIVEEXEC_ASSIGN_OR_RETURN(SealedMapping mapping, SealedMapping::Open(syscalls, image));
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return ErrnoError(errno, absl::StrCat("create ", path));
  absl::Span<const uint8_t> bytes = mapping.bytes();
  for (size_t offset = 0; offset < bytes.size();) {
    int64_t written = syscalls.Pwrite(file.get(), bytes.data() + offset, bytes.size() - offset,
                                      static_cast<int64_t>(offset));
    if (written <= 0) {
      return ErrnoError(written == 0 ? ENOSPC : static_cast<int>(-written), "write " + path);
    }
    offset += static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> KeepWreckage(Syscalls& syscalls, const Inheritance& inheritance) {
  const char* base = getenv("TMPDIR");
  std::string directory = absl::StrCat(base != nullptr ? base : "/tmp", "/liveexec-state-XXXXXX");
  if (mkdtemp(directory.data()) == nullptr) return ErrnoError(errno, "mkdtemp " + directory);
  LIVEEXEC_ASSIGN_OR_RETURN(std::vector<UniqueFd> bootstrap,
                            PeekFdBatch(syscalls, inheritance.channel, 0));
  if (bootstrap.size() > kManifestFd) {
    LIVEEXEC_RETURN_IF_ERROR(
        CopyTo(syscalls, bootstrap[kManifestFd].get(), directory + "/manifest.image"));
  }
  // The images come first in the list of fds; the first fd that is no sealed memfd ends them.
  int number = 0;
  for (size_t batch = 1;; ++batch) {
    auto fds = PeekFdBatch(syscalls, inheritance.channel, batch);
    if (!fds.ok()) return directory;
    for (const UniqueFd& fd : *fds) {
      if (syscalls.Fcntl(fd.get(), F_GET_SEALS, 0) <= 0) return directory;
      LIVEEXEC_RETURN_IF_ERROR(
          CopyTo(syscalls, fd.get(), absl::StrCat(directory, "/", number++, ".image")));
    }
  }
}

}  // namespace liveexec
