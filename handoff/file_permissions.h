// May this file be trusted as a program of ours? What CheckPermissions of program_file.h decides.
#ifndef LIVEEXEC_HANDOFF_FILE_PERMISSIONS_H_
#define LIVEEXEC_HANDOFF_FILE_PERMISSIONS_H_

#include <sys/stat.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace liveexec {

// `file` and all its parents up to the root: owned by root or by our effective user, writable by
// nobody else (a sticky directory may be: others cannot replace our entries there). `path` is
// absolute, without symbolic links. E_UNSAFE, naming the culprit and the command that helps.
absl::Status CheckOwnership(const struct stat& file, const std::string& path);

// Whether one file or directory, with that mode and owner, is safe.
absl::Status CheckOneOwner(const struct stat& file, std::string_view path);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_FILE_PERMISSIONS_H_
