// ControlListener: the control socket's file and the socket that listens behind it.
//
// Move-only. Owns the fd; owns the file too, but only Unlink() removes it, and only if it is still
// the one that was bound: across an upgrade the file stays while its owner's memory is gone.
#ifndef LIVEEXEC_HANDOFF_CONTROL_LISTENER_H_
#define LIVEEXEC_HANDOFF_CONTROL_LISTENER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "core/unique_fd.h"

namespace liveexec {

class ControlListener {
 public:
  ControlListener() = default;  // does not listen

  // Listens on `path`, 1 to 107 bytes. Its directory is made 0700 if it is missing (its parent must
  // be there), and refused with E_UNSAFE if it is not ours or if others may enter it. A socket that
  // a dead server left is replaced; E_INUSE when a live one answers, or when something else has the
  // name. Blocks while another process holds the directory's flock, which binding does: at most 5
  // s, then E_INUSE.
  static absl::StatusOr<ControlListener> Bind(const std::string& path);

  // Takes a listening socket over from the program before.
  ControlListener(UniqueFd fd, std::string path, uint64_t device, uint64_t inode)
      : fd_(std::move(fd)), path_(std::move(path)), device_(device), inode_(inode) {}

  explicit operator bool() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  uint64_t device() const { return device_; }
  uint64_t inode() const { return inode_; }

  // Removes the file if it is the one that was bound.
  void Unlink();

 private:
  UniqueFd fd_;
  std::string path_;
  uint64_t device_ = 0;  // of the file
  uint64_t inode_ = 0;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_CONTROL_LISTENER_H_
