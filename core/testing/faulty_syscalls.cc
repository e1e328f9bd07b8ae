#include "core/testing/faulty_syscalls.h"

#include <algorithm>

namespace liveexec {

void FaultySyscalls::Fail(std::string_view name, int nth, int error, Times times) {
  std::lock_guard lock(mutex_);
  fail_name_ = std::string(name);
  fail_nth_ = nth;
  fail_error_ = error;
  fail_times_ = times;
  failed_ = false;
}

void FaultySyscalls::FailAny(int nth, int error, Times times) { Fail("", nth, error, times); }

std::vector<std::string> FaultySyscalls::calls() const {
  std::lock_guard lock(mutex_);
  return calls_;
}

int FaultySyscalls::count(std::string_view name) const {
  std::lock_guard lock(mutex_);
  auto found = counts_.find(name);
  return found == counts_.end() ? 0 : found->second;
}

bool FaultySyscalls::failed() const {
  std::lock_guard lock(mutex_);
  return failed_;
}

int FaultySyscalls::Count(std::string_view name) {
  if (observer_) observer_(name);
  std::lock_guard lock(mutex_);
  calls_.emplace_back(name);
  int of_this_name = ++counts_[std::string(name)];
  if (fail_nth_ == 0 || (!fail_name_.empty() && fail_name_ != name)) return 0;
  int nth = fail_name_.empty() ? static_cast<int>(calls_.size()) : of_this_name;
  bool strikes = fail_times_ == Times::kOnce ? nth == fail_nth_ : nth >= fail_nth_;
  if (!strikes) return 0;
  failed_ = true;
  return fail_error_;
}

template <typename Call>
auto FaultySyscalls::Pass(std::string_view name, Call call) -> decltype(call()) {
  if (int error = Count(name); error != 0) return -error;
  return call();
}

int FaultySyscalls::MemfdCreate(const char* name, unsigned flags) {
  return Pass("MemfdCreate", [&] { return Syscalls::MemfdCreate(name, flags); });
}

int FaultySyscalls::Ftruncate(int fd, int64_t length) {
  return Pass("Ftruncate", [&] { return Syscalls::Ftruncate(fd, length); });
}

int64_t FaultySyscalls::Pwrite(int fd, const void* data, size_t size, int64_t offset) {
  return Pass("Pwrite", [&] { return Syscalls::Pwrite(fd, data, size, offset); });
}

int64_t FaultySyscalls::Pread(int fd, void* data, size_t size, int64_t offset) {
  return Pass("Pread", [&] { return Syscalls::Pread(fd, data, size, offset); });
}

void* FaultySyscalls::Mmap(size_t length, int protection, int flags, int fd, int* error) {
  if (int failure = Count("Mmap"); failure != 0) {
    *error = -failure;
    return nullptr;
  }
  return Syscalls::Mmap(length, protection, flags, fd, error);
}

void* FaultySyscalls::MmapAt(void* address, size_t length, int protection, int flags, int fd,
                             int* error) {
  if (int failure = Count("MmapAt"); failure != 0) {
    *error = -failure;
    return nullptr;
  }
  return Syscalls::MmapAt(address, length, protection, flags, fd, error);
}

int FaultySyscalls::Mprotect(void* address, size_t length, int protection) {
  return Pass("Mprotect", [&] { return Syscalls::Mprotect(address, length, protection); });
}

int FaultySyscalls::Madvise(void* address, size_t length, int advice) {
  return Pass("Madvise", [&] { return Syscalls::Madvise(address, length, advice); });
}

int FaultySyscalls::Fcntl(int fd, int command, int64_t argument) {
  return Pass("Fcntl", [&] { return Syscalls::Fcntl(fd, command, argument); });
}

int FaultySyscalls::Fstat(int fd, struct stat* result) {
  return Pass("Fstat", [&] { return Syscalls::Fstat(fd, result); });
}

int FaultySyscalls::Open(const char* path, int flags) {
  return Pass("Open", [&] { return Syscalls::Open(path, flags); });
}

int64_t FaultySyscalls::Readlink(const char* path, char* buffer, size_t size) {
  return Pass("Readlink", [&] { return Syscalls::Readlink(path, buffer, size); });
}

int FaultySyscalls::Socketpair(int domain, int type, int protocol, int fds[2]) {
  return Pass("Socketpair", [&] { return Syscalls::Socketpair(domain, type, protocol, fds); });
}

int64_t FaultySyscalls::Sendmsg(int fd, const struct msghdr* message, int flags) {
  return Pass("Sendmsg", [&] { return Syscalls::Sendmsg(fd, message, flags); });
}

int64_t FaultySyscalls::Recvmsg(int fd, struct msghdr* message, int flags) {
  return Pass("Recvmsg", [&] { return Syscalls::Recvmsg(fd, message, flags); });
}

int FaultySyscalls::Setsockopt(int fd, int level, int option, const void* value, socklen_t size) {
  return Pass("Setsockopt", [&] { return Syscalls::Setsockopt(fd, level, option, value, size); });
}

int FaultySyscalls::Getsockopt(int fd, int level, int option, void* value, socklen_t* size) {
  return Pass("Getsockopt", [&] { return Syscalls::Getsockopt(fd, level, option, value, size); });
}

int FaultySyscalls::CloseRange(unsigned first, unsigned last, unsigned flags) {
  return Pass("CloseRange", [&] { return Syscalls::CloseRange(first, last, flags); });
}

int FaultySyscalls::Sigprocmask(int how, const sigset_t* set, sigset_t* old) {
  return Pass("Sigprocmask", [&] { return Syscalls::Sigprocmask(how, set, old); });
}

int FaultySyscalls::Sigpending(sigset_t* set) {
  return Pass("Sigpending", [&] { return Syscalls::Sigpending(set); });
}

int FaultySyscalls::Getrlimit(int resource, struct rlimit* limit) {
  return Pass("Getrlimit", [&] { return Syscalls::Getrlimit(resource, limit); });
}

int FaultySyscalls::Setrlimit(int resource, const struct rlimit* limit) {
  return Pass("Setrlimit", [&] { return Syscalls::Setrlimit(resource, limit); });
}

int FaultySyscalls::Prctl(int option, uint64_t argument) {
  return Pass("Prctl", [&] { return Syscalls::Prctl(option, argument); });
}

int FaultySyscalls::Execveat(int fd, char* const argv[], char* const envp[]) {
  return Pass("Execveat", [&] { return Syscalls::Execveat(fd, argv, envp); });
}

int ForEachCall(int error, Times times, const std::function<void(FaultySyscalls&)>& sequence) {
  constexpr int kMaxCalls = 10'000;
  FaultySyscalls counting;
  sequence(counting);
  int count = std::min(static_cast<int>(counting.calls().size()), kMaxCalls);
  for (int nth = 1; nth <= count; ++nth) {
    FaultySyscalls syscalls;
    syscalls.FailAny(nth, error, times);
    sequence(syscalls);
  }
  return count;
}

}  // namespace liveexec
