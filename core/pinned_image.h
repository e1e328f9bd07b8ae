// PinnedImage: one executable file, held open so that it stays the same file whatever happens to
// its name.
//
// O_PATH pins against rename and unlink, not against writing in place: that is what identity() is
// for, to be compared again right before the exec.
#ifndef LIVEEXEC_CORE_PINNED_IMAGE_H_
#define LIVEEXEC_CORE_PINNED_IMAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"

namespace liveexec {

// What changes when a file is replaced or written.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t links = 0;
  uint32_t mode = 0;
  uint32_t user = 0;
  uint32_t group = 0;

  bool operator==(const FileIdentity&) const = default;
};

absl::StatusOr<FileIdentity> IdentityOf(Syscalls& syscalls, int fd);

class PinnedImage {
 public:
  // Errors carry the errno of open(2).
  static absl::StatusOr<PinnedImage> Open(Syscalls& syscalls, const std::string& path);
  // The running program itself: the very file, also after a rename over its path, which is still
  // the path that it says.
  static absl::StatusOr<PinnedImage> OfThisProcess(Syscalls& syscalls);
  // Takes an O_PATH fd that came from elsewhere. Without a `path`, the one that /proc shows.
  static absl::StatusOr<PinnedImage> Adopt(Syscalls& syscalls, UniqueFd fd, std::string path = "");

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }  // as given; for messages only
  const FileIdentity& identity() const { return identity_; }

 private:
  PinnedImage(UniqueFd fd, std::string path, FileIdentity identity)
      : fd_(std::move(fd)), path_(std::move(path)), identity_(identity) {}

  UniqueFd fd_;
  std::string path_;
  FileIdentity identity_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_PINNED_IMAGE_H_
