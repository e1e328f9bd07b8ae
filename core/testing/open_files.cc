#include "core/testing/open_files.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include <memory>

namespace liveexec {

std::map<int, std::string> OpenFiles(pid_t pid) {
  std::string path = "/proc/" + (pid == 0 ? std::string("self") : std::to_string(pid)) + "/fd";
  std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(path.c_str()), closedir);
  std::map<int, std::string> files;
  if (directory == nullptr) return files;
  while (const struct dirent* entry = readdir(directory.get())) {
    if (entry->d_name[0] == '.') continue;
    int fd = atoi(entry->d_name);
    if (pid == 0 && fd == dirfd(directory.get())) continue;
    char target[PATH_MAX];
    ssize_t length = readlink((path + "/" + entry->d_name).c_str(), target, sizeof(target));
    if (length > 0) files[fd] = std::string(target, static_cast<size_t>(length));
  }
  return files;
}

}  // namespace liveexec
