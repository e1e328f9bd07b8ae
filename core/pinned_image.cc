#include "core/pinned_image.h"

#include <fcntl.h>
#include <limits.h>

#include <string_view>
#include <utility>

#include "core/error.h"

namespace liveexec {

namespace {

// The path that /proc's `link` shows for `fd`.
absl::StatusOr<std::string> ReadLink(Syscalls& syscalls, const char* link, int fd) {
  char path[PATH_MAX];
  int64_t length = syscalls.Readlink(link, path, sizeof(path));
  if (length < 0) return ErrnoError(static_cast<int>(-length), std::string("readlink ") + link);
  std::string_view text(path, static_cast<size_t>(length));
  // How the kernel marks a file whose name is gone, or is another file's by now.
  constexpr std::string_view kDeleted = " (deleted)";
  struct stat file;
  if (text.ends_with(kDeleted) && syscalls.Fstat(fd, &file) == 0 && file.st_nlink == 0) {
    text.remove_suffix(kDeleted.size());
  }
  return std::string(text);
}

}  // namespace

absl::StatusOr<FileIdentity> IdentityOf(Syscalls& syscalls, int fd) {
  struct stat file;
  if (int result = syscalls.Fstat(fd, &file); result < 0) return ErrnoError(-result, "fstat");
  constexpr int64_t kNsPerSecond = 1'000'000'000;
  return FileIdentity{
      .device = file.st_dev,
      .inode = file.st_ino,
      .size = file.st_size,
      .mtime_ns = file.st_mtim.tv_sec * kNsPerSecond + file.st_mtim.tv_nsec,
      .ctime_ns = file.st_ctim.tv_sec * kNsPerSecond + file.st_ctim.tv_nsec,
      .links = file.st_nlink,
      .mode = file.st_mode,
      .user = file.st_uid,
      .group = file.st_gid,
  };
}

absl::StatusOr<PinnedImage> PinnedImage::Open(Syscalls& syscalls, const std::string& path) {
  int fd = syscalls.Open(path.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) return ErrnoError(-fd, "open " + path);
  return Adopt(syscalls, UniqueFd(fd), path);
}

absl::StatusOr<PinnedImage> PinnedImage::OfThisProcess(Syscalls& syscalls) {
  constexpr char kOwnProgram[] = "/proc/self/exe";
  LIVEEXEC_ASSIGN_OR_RETURN(PinnedImage image, Open(syscalls, kOwnProgram));
  LIVEEXEC_ASSIGN_OR_RETURN(image.path_, ReadLink(syscalls, kOwnProgram, image.fd()));
  return image;
}

absl::StatusOr<PinnedImage> PinnedImage::Adopt(Syscalls& syscalls, UniqueFd fd, std::string path) {
  LIVEEXEC_ASSIGN_OR_RETURN(FileIdentity identity, IdentityOf(syscalls, fd.get()));
  if (path.empty()) {
    std::string link = "/proc/self/fd/" + std::to_string(fd.get());
    LIVEEXEC_ASSIGN_OR_RETURN(path, ReadLink(syscalls, link.c_str(), fd.get()));
  }
  return PinnedImage(std::move(fd), std::move(path), identity);
}

}  // namespace liveexec
