// FileWatch: waits until a file has been changed or replaced, and left alone for a while.
//
//   LIVEEXEC_ASSIGN_OR_RETURN(FileWatch watch, FileWatch::Create("bazel-bin/server"));
//   while (watch.AwaitChange(absl::Milliseconds(300)).ok()) Upgrade();
//
// It watches the folders of the path and of what it leads to, since a build usually renames a new
// file into place, or turns a symbolic link. Blocking; not thread-safe.
#ifndef LIVEEXEC_HANDOFF_CLI_FILE_WATCH_H_
#define LIVEEXEC_HANDOFF_CLI_FILE_WATCH_H_

#include <cstdint>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/unique_fd.h"

namespace liveexec::cli {

class FileWatch {
 public:
  // The file may be missing, its folder not. Changes count from here on. E_WATCH, with the errno.
  static absl::StatusOr<FileWatch> Create(std::string path);

  // Returns once the path leads to another file, or to the same one with other content, than at the
  // last return (or Create), and nothing has happened in its folder for `settle` since. E_WATCH.
  absl::Status AwaitChange(absl::Duration settle);

 private:
  // Device, inode, size, times of modification and change in ns; all 0 for a missing file.
  using Identity = std::tuple<uint64_t, uint64_t, int64_t, int64_t, int64_t>;

  FileWatch(std::string path, UniqueFd inotify)
      : path_(std::move(path)), inotify_(std::move(inotify)) {}

  // Watches the folders that the path leads through now; those watched before stay.
  absl::Status WatchFolders();
  // Waits for events, for `timeout` at most, and takes them; false when there were none.
  absl::StatusOr<bool> TakeEvents(absl::Duration timeout);
  Identity Identify() const;

  std::string path_;
  UniqueFd inotify_;
  Identity last_ = {};
};

}  // namespace liveexec::cli

#endif  // LIVEEXEC_HANDOFF_CLI_FILE_WATCH_H_
