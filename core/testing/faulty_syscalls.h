// FaultySyscalls: the kernel, except that a chosen call fails.
//
//   FaultySyscalls syscalls;
//   syscalls.Fail("Pwrite", 2, ENOSPC);              // the second Pwrite, once
//   syscalls.FailAny(5, EIO, Times::kFromThenOn);    // the fifth call and all that follow
//
//   // Every call of a sequence, failed in turn:
//   ForEachCall(EIO, Times::kOnce, [](FaultySyscalls& syscalls) { ... });
//
// Names are those of the functions of Syscalls. A call that fails does not reach the kernel.
// Thread-safe, as Syscalls is.
#ifndef LIVEEXEC_CORE_TESTING_FAULTY_SYSCALLS_H_
#define LIVEEXEC_CORE_TESTING_FAULTY_SYSCALLS_H_

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/syscalls.h"

namespace liveexec {

enum class Times { kOnce, kFromThenOn };

class FaultySyscalls : public Syscalls {
 public:
  // Fails the `nth` (1, 2, ...) call of `name` with `error`, an errno value. One fault at a time:
  // replaces the one before.
  void Fail(std::string_view name, int nth, int error, Times times = Times::kOnce);
  // The same, counting calls of every name.
  void FailAny(int nth, int error, Times times = Times::kOnce);

  // Called before each call, also one that is going to fail; not under a lock.
  void Observe(std::function<void(std::string_view name)> observer) { observer_ = observer; }

  // The names of all calls so far, in order.
  std::vector<std::string> calls() const;
  int count(std::string_view name) const;
  // Whether the fault has struck.
  bool failed() const;

  int MemfdCreate(const char* name, unsigned flags) override;
  int Ftruncate(int fd, int64_t length) override;
  int64_t Pwrite(int fd, const void* data, size_t size, int64_t offset) override;
  int64_t Pread(int fd, void* data, size_t size, int64_t offset) override;
  void* Mmap(size_t length, int protection, int flags, int fd, int* error) override;
  void* MmapAt(void* address, size_t length, int protection, int flags, int fd,
               int* error) override;
  int Mprotect(void* address, size_t length, int protection) override;
  int Madvise(void* address, size_t length, int advice) override;
  int Fcntl(int fd, int command, int64_t argument) override;
  int Fstat(int fd, struct stat* result) override;
  int Open(const char* path, int flags) override;
  int64_t Readlink(const char* path, char* buffer, size_t size) override;
  int Socketpair(int domain, int type, int protocol, int fds[2]) override;
  int64_t Sendmsg(int fd, const struct msghdr* message, int flags) override;
  int64_t Recvmsg(int fd, struct msghdr* message, int flags) override;
  int Setsockopt(int fd, int level, int option, const void* value, socklen_t size) override;
  int Getsockopt(int fd, int level, int option, void* value, socklen_t* size) override;
  int CloseRange(unsigned first, unsigned last, unsigned flags) override;
  int Sigprocmask(int how, const sigset_t* set, sigset_t* old) override;
  int Sigpending(sigset_t* set) override;
  int Getrlimit(int resource, struct rlimit* limit) override;
  int Setrlimit(int resource, const struct rlimit* limit) override;
  int Prctl(int option, uint64_t argument) override;
  int Execveat(int fd, char* const argv[], char* const envp[]) override;

 private:
  // Counts the call; returns the errno that it must fail with, or 0.
  int Count(std::string_view name);
  template <typename Call>
  auto Pass(std::string_view name, Call call) -> decltype(call());

  std::function<void(std::string_view)> observer_;

  mutable std::mutex mutex_;
  std::vector<std::string> calls_;
  std::map<std::string, int, std::less<>> counts_;
  std::string fail_name_;  // empty: of any name
  int fail_nth_ = 0;       // 0: none
  int fail_error_ = 0;
  Times fail_times_ = Times::kOnce;
  bool failed_ = false;
};

// Runs `sequence` once with nothing failing, to count its calls, and then once for each of them
// with that one (or that one and all later ones) failing. Returns how many calls there were: a test
// expects it to be more than none. At most 10,000.
int ForEachCall(int error, Times times, const std::function<void(FaultySyscalls&)>& sequence);

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_TESTING_FAULTY_SYSCALLS_H_
