#include "handoff/file_permissions.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

absl::Status Unsafe(const std::string& sentence) {
  return CodedError("E_UNSAFE", absl::StatusCode::kFailedPrecondition, sentence);
}

}  // namespace

absl::Status CheckOneOwner(const struct stat& file, std::string_view path) {
  const std::string name(path);
  if (file.st_uid != 0 && file.st_uid != geteuid()) {
    return Unsafe(absl::StrCat(name, " belongs to user ", file.st_uid,
                               ", who could replace the program: chown it to root or to user ",
                               geteuid()));
  }
  const bool sticky_directory = S_ISDIR(file.st_mode) && (file.st_mode & S_ISVTX) != 0;
  if ((file.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !sticky_directory) {
    const bool others = (file.st_mode & S_IWOTH) != 0;
    return Unsafe(absl::StrCat(name, " is writable by ", others ? "everyone" : "its group",
                               ", who could replace the program: chmod ", others ? "o-w" : "g-w",
                               " it"));
  }
  return absl::OkStatus();
}

absl::Status CheckOwnership(const struct stat& file, const std::string& path) {
  LIVEEXEC_RETURN_IF_ERROR(CheckOneOwner(file, path));
  std::string parent = path;
  while (parent.size() > 1) {
    const size_t slash = parent.rfind('/');
    if (slash == std::string::npos) return Unsafe(absl::StrCat(path, " is not an absolute path"));
    parent.resize(slash == 0 ? 1 : slash);
    struct stat directory;
    if (stat(parent.c_str(), &directory) != 0) {
      return WithCode(ErrnoError(errno, "stat " + parent), "E_UNSAFE");
    }
    LIVEEXEC_RETURN_IF_ERROR(CheckOneOwner(directory, parent));
  }
  return absl::OkStatus();
}

}  // namespace liveexec
