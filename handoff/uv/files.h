// Files: named plain files (logs, journals, dumps in progress) that stay open across an upgrade.
//
// The offset and O_APPEND belong to the kernel's open file description, which is what is carried:
// the next program goes on at the very byte. flock() and open-file-description locks stay as well,
// even when the path has been renamed or unlinked meanwhile.
//
// Main thread only. Append blocks for as long as the disk takes. Quiesced: FailedPrecondition.
#ifndef LIVEEXEC_HANDOFF_UV_FILES_H_
#define LIVEEXEC_HANDOFF_UV_FILES_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "handoff/component.h"

namespace liveexec::uv {

class Files final : public Component {
 public:
  explicit Files(std::string name) : name_(std::move(name)) {}

  // Opens `path` under the name `file`; `flags` as for open(2), O_CLOEXEC is added. Replaces a file
  // that had the name. `mode` is for O_CREAT.
  absl::Status Open(std::string_view file, const std::string& path, int flags, mode_t mode = 0600);
  // Takes an open fd under the name; `path` is for display.
  absl::Status Adopt(std::string_view file, UniqueFd fd, std::string path);
  // Ok also when there is none.
  absl::Status Close(std::string_view file);

  // Borrowed; -1 when there is none or the component is quiesced.
  int fd(std::string_view file) const;
  // As it was opened; empty when there is none.
  std::string path(std::string_view file) const;

  // Writes all of `bytes` at the file's offset (its end, with O_APPEND). On an error (disk full) a
  // part may have been written.
  absl::Status Append(std::string_view file, std::string_view bytes);

  std::string_view name() const override { return name_; }
  absl::Status Quiesce() override;
  absl::Status Export(ExportContext& context) const override;
  void Resume() override;
  absl::Status Rehydrate(ImportContext& context) override;

 private:
  struct File {
    UniqueFd fd;
    std::string path;
  };

  const std::string name_;
  bool quiesced_ = false;
  std::map<std::string, File, std::less<>> files_;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_FILES_H_
