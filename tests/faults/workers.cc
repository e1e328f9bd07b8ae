#include "tests/faults/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <vector>

#include "core/unique_fd.h"

namespace liveexec::faults {
namespace {

// Before each job a worker announces its number, and after it the result: the number, the length,
// the text.
struct Header {
  uint64_t job;
  int64_t length;  // -1: begun
};

bool WriteAll(int fd, const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t count = write(fd, next, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    next += count;
    size -= static_cast<size_t>(count);
  }
  return true;
}

struct Pipe {
  UniqueFd read_end, write_end;
};

Pipe MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe for a worker");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// Takes numbers from `jobs` until there are no more. A read of one number is never split: all were
// written before.
[[noreturn]] void Work(int jobs, int results, const std::function<std::string(size_t)>& run) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  uint64_t job = 0;
  while (read(jobs, &job, sizeof(job)) == sizeof(job)) {
    const Header begun = {job, -1};
    if (!WriteAll(results, &begun, sizeof(begun))) break;
    const std::string text = run(job);
    const Header ended = {job, static_cast<int64_t>(text.size())};
    if (!WriteAll(results, &ended, sizeof(ended))) break;
    if (!WriteAll(results, text.data(), text.size())) break;
  }
  fflush(nullptr);
  _exit(0);
}

class Worker {
 public:
  Worker(pid_t pid, UniqueFd results) : pid_(pid), results_(std::move(results)) {}

  int fd() const { return results_.get(); }

  // Reads what there is; false at the end.
  bool Read(const std::function<void(size_t, const std::string&)>& done) {
    char buffer[16384];
    const ssize_t count = read(results_.get(), buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) return true;
    if (count <= 0) {
      if (current_) done(*current_, "");
      waitpid(pid_, nullptr, 0);
      results_.reset();
      return false;
    }
    pending_.append(buffer, static_cast<size_t>(count));
    while (Take(done)) {
    }
    return true;
  }

 private:
  bool Take(const std::function<void(size_t, const std::string&)>& done) {
    Header header;
    if (pending_.size() < sizeof(header)) return false;
    memcpy(&header, pending_.data(), sizeof(header));
    const size_t length = header.length < 0 ? 0 : static_cast<size_t>(header.length);
    if (pending_.size() < sizeof(header) + length) return false;
    current_ = header.job;
    if (header.length >= 0) {
      done(header.job, pending_.substr(sizeof(header), length));
      current_.reset();
    }
    pending_.erase(0, sizeof(header) + length);
    return true;
  }

  pid_t pid_;
  UniqueFd results_;
  std::string pending_;
  std::optional<size_t> current_;
};

// All numbers, in a file: a pipe may be too small. Workers share its offset.
UniqueFd WriteJobs(size_t jobs) {
  char name[] = "/tmp/lx-jobs.XXXXXX";
  UniqueFd fd(mkostemp(name, O_CLOEXEC));
  if (!fd) throw std::runtime_error("no file for the list of jobs");
  unlink(name);
  for (uint64_t job = 0; job < jobs; ++job) WriteAll(fd.get(), &job, sizeof(job));
  lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

}  // namespace

void RunInProcesses(int processes, size_t jobs, const std::function<std::string(size_t)>& run,
                    const std::function<void(size_t, const std::string&)>& done) {
  const UniqueFd list = WriteJobs(jobs);
  std::vector<Worker> workers;
  fflush(nullptr);
  for (int i = 0; i < processes; ++i) {
    Pipe pipe = MakePipe();
    const pid_t pid = fork();
    if (pid < 0) throw std::runtime_error("cannot fork a worker");
    if (pid == 0) Work(list.get(), pipe.write_end.get(), run);
    workers.emplace_back(pid, std::move(pipe.read_end));
  }
  for (size_t left = workers.size(); left > 0;) {
    std::vector<pollfd> waits;
    for (const Worker& worker : workers) waits.push_back({worker.fd(), POLLIN, 0});
    if (poll(waits.data(), waits.size(), -1) < 0) continue;
    for (size_t i = 0; i < workers.size(); ++i) {
      if (waits[i].revents != 0 && !workers[i].Read(done)) --left;
    }
  }
}

}  // namespace liveexec::faults
