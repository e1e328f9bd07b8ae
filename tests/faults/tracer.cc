#include "tests/faults/tracer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/harness/clock.h"

namespace liveexec::faults {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);

struct Pipe {
  UniqueFd read_end, write_end;
};

Pipe MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe for strace");
  // What a long run writes before anybody looks must fit: strace would stop, and the server too.
  fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace

Tracer::Tracer(pid_t pid, std::vector<std::string> arguments, Scope scope) {
  Pipe output = MakePipe(), errors = MakePipe();
  // Its own pipe for the log: the messages about attaching go to stderr.
  std::vector<std::string> command = {"strace", "-o", "/dev/stdout"};
  if (scope == kAll) command.push_back("-f");
  command.insert(command.end(), arguments.begin(), arguments.end());
  command.push_back("-p");
  command.push_back(absl::StrCat(pid));
  auto started = harness::ChildProcess::Start({.command = command,
                                               .standard_output = output.write_end.get(),
                                               .standard_error = errors.write_end.get()});
  if (!started.ok()) throw std::runtime_error(started.status().ToString());
  strace_ = *std::move(started);
  output_ = std::move(output.read_end);
  errors_ = std::move(errors.read_end);
  output.write_end.reset();
  errors.write_end.reset();
  while (messages_.find("attached") == std::string::npos) {
    if (!ReadMore(errors_.get(), messages_, kPatience)) {
      throw std::runtime_error(absl::StrCat("strace cannot attach: ", messages_));
    }
  }
}

Tracer::~Tracer() { Detach(); }

// False at the end of the file, or when nothing comes.
bool Tracer::ReadMore(int fd, std::string& text, absl::Duration timeout) {
  struct pollfd wait = {fd, POLLIN, 0};
  if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout)) + 1) <= 0) return false;
  char buffer[16384];
  const ssize_t size = read(fd, buffer, sizeof(buffer));
  ended_ = ended_ || size == 0;
  if (size <= 0) return false;
  text.append(buffer, static_cast<size_t>(size));
  return true;
}

bool Tracer::WaitFor(std::string_view text, absl::Duration timeout) {
  const int64_t deadline_ns = harness::NowNs() + absl::ToInt64Nanoseconds(timeout);
  while (calls_.find(text) == std::string::npos) {
    const int64_t left_ns = deadline_ns - harness::NowNs();
    if (left_ns <= 0 || ended_) return false;
    ReadMore(output_.get(), calls_, absl::Nanoseconds(left_ns));
  }
  return true;
}

std::vector<std::string> Tracer::Detach() {
  if (strace_ != nullptr) {
    strace_->Signal(SIGTERM).IgnoreError();
    // Until the end of the file: strace waits for us if the pipe is full.
    while (ReadMore(output_.get(), calls_, kPatience)) {
    }
    strace_->WaitForExit(kPatience).IgnoreError();
    strace_.reset();
  }
  return absl::StrSplit(calls_, '\n', absl::SkipEmpty());
}

}  // namespace liveexec::faults
