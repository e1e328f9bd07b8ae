#include "handoff/cli/file_watch.h"

#include <errno.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"

namespace liveexec::cli {
namespace {

constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ATTRIB | IN_DELETE;
constexpr int kMaxLinks = 40;  // as many as the kernel follows

int64_t Nanoseconds(const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

std::string FolderOf(const std::filesystem::path& path) {
  const std::string folder = path.parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

absl::StatusOr<FileWatch> FileWatch::Create(std::string path) {
  UniqueFd inotify(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify) return WithCode(ErrnoError(errno, "inotify_init1"), "E_WATCH");
  FileWatch watch(std::move(path), std::move(inotify));
  LIVEEXEC_RETURN_IF_ERROR(watch.WatchFolders());
  watch.last_ = watch.Identify();
  return watch;
}

absl::Status FileWatch::AwaitChange(absl::Duration settle) {
  while (true) {
    LIVEEXEC_RETURN_IF_ERROR(TakeEvents(absl::InfiniteDuration()).status());
    while (true) {
      // A link may lead into another folder now.
      LIVEEXEC_RETURN_IF_ERROR(WatchFolders());
      LIVEEXEC_ASSIGN_OR_RETURN(bool more, TakeEvents(settle));
      if (!more) break;
    }
    const Identity now = Identify();
    if (now == Identity() || now == last_) continue;
    last_ = now;
    return absl::OkStatus();
  }
}

absl::Status FileWatch::WatchFolders() {
  std::filesystem::path at = path_;
  for (int i = 0; i < kMaxLinks; ++i) {
    const std::string folder = FolderOf(at);
    // Adding a folder once more changes nothing.
    if (inotify_add_watch(inotify_.get(), folder.c_str(), kEvents) < 0 && i == 0) {
      return WithCode(ErrnoError(errno, absl::StrCat("watch ", folder)), "E_WATCH");
    }
    std::error_code error;
    const std::filesystem::path target = std::filesystem::read_symlink(at, error);
    if (error) break;
    at = target.is_absolute() ? target : at.parent_path() / target;
  }
  // A link may also be among the folders.
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path_, error);
  if (!error) inotify_add_watch(inotify_.get(), FolderOf(real).c_str(), kEvents);
  return absl::OkStatus();
}

absl::StatusOr<bool> FileWatch::TakeEvents(absl::Duration timeout) {
  pollfd poll_fd = {inotify_.get(), POLLIN, 0};
  const int timeout_ms =
      timeout == absl::InfiniteDuration()
          ? -1
          : static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 1, 3'600'000));
  int ready;
  while ((ready = poll(&poll_fd, 1, timeout_ms)) < 0 && errno == EINTR) {
  }
  if (ready < 0) return WithCode(ErrnoError(errno, "poll"), "E_WATCH");
  // What has happened is seen by looking at the file; the events only say that something has.
  alignas(inotify_event) char events[4096];
  while (read(inotify_.get(), events, sizeof(events)) > 0) {
  }
  return ready > 0;
}

FileWatch::Identity FileWatch::Identify() const {
  struct stat status;
  if (stat(path_.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, status.st_size, Nanoseconds(status.st_mtim),
          Nanoseconds(status.st_ctim)};
}

}  // namespace liveexec::cli
