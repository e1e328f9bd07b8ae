#include "core/testing/in_child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace liveexec {

std::string InChild(const std::function<std::string()>& body) {
  constexpr size_t kMaxText = 64 << 10;
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return "pipe2 failed";
  fflush(nullptr);
  pid_t child = fork();
  if (child < 0) return "fork failed";
  if (child == 0) {
    close(pipe_ends[0]);
    std::string text = body();
    // At most what fits into a pipe that nobody reads yet.
    if (text.size() > kMaxText) text.resize(kMaxText);
    ssize_t written = write(pipe_ends[1], text.data(), text.size());
    _exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  close(pipe_ends[1]);
  std::string text;
  char buffer[4096];
  ssize_t count;
  // Ends when the child has: its end of the pipe is CLOEXEC.
  while ((count = read(pipe_ends[0], buffer, sizeof(buffer))) > 0 ||
         (count < 0 && errno == EINTR)) {
    if (count > 0) text.append(buffer, static_cast<size_t>(count));
  }
  close(pipe_ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (!text.empty()) return text;
  if (WIFSIGNALED(status)) return "died of signal " + std::to_string(WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) return "ended with status " + std::to_string(WEXITSTATUS(status));
  return "";
}

}  // namespace liveexec
