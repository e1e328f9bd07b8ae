// Syscalls: every system call of the crossing, behind one narrow interface.
//
// Each function is the call of the same name: it returns what the kernel returns, or -errno. EINTR
// never comes back: calls that can be repeated are repeated here, once for all. Nothing else is
// interpreted.
//
// Production code gets Syscalls::Kernel(); tests pass an implementation that fails the call they
// are about. Stateless and thread-safe. Async-signal-safe too, which the rollback handler needs
// (rollback.cc uses the raw calls all the same: it must not depend on a vtable that a wild write
// may have reached).
#ifndef LIVEEXEC_CORE_SYSCALLS_H_
#define LIVEEXEC_CORE_SYSCALLS_H_

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

namespace liveexec {

class Syscalls {
 public:
  virtual ~Syscalls() = default;

  // The kernel itself. Lives as long as the process.
  static Syscalls& Kernel();

  virtual int MemfdCreate(const char* name, unsigned flags);
  virtual int Ftruncate(int fd, int64_t length);
  virtual int64_t Pwrite(int fd, const void* data, size_t size, int64_t offset);
  virtual int64_t Pread(int fd, void* data, size_t size, int64_t offset);
  // Returns MAP_FAILED's cause as -errno through `error` and nullptr.
  virtual void* Mmap(size_t length, int protection, int flags, int fd, int* error);
  // The same at `address` and nowhere else: -EEXIST when something is mapped there.
  virtual void* MmapAt(void* address, size_t length, int protection, int flags, int fd, int* error);
  virtual int Mprotect(void* address, size_t length, int protection);
  virtual int Madvise(void* address, size_t length, int advice);
  virtual int Fcntl(int fd, int command, int64_t argument);
  virtual int Fstat(int fd, struct stat* result);
  virtual int Open(const char* path, int flags);
  virtual int64_t Readlink(const char* path, char* buffer, size_t size);
  virtual int Socketpair(int domain, int type, int protocol, int fds[2]);
  virtual int64_t Sendmsg(int fd, const struct msghdr* message, int flags);
  virtual int64_t Recvmsg(int fd, struct msghdr* message, int flags);
  virtual int Setsockopt(int fd, int level, int option, const void* value, socklen_t size);
  virtual int Getsockopt(int fd, int level, int option, void* value, socklen_t* size);
  virtual int CloseRange(unsigned first, unsigned last, unsigned flags);
  virtual int Sigprocmask(int how, const sigset_t* set,
                          sigset_t* old);  // the calling thread's mask
  virtual int Sigpending(sigset_t* set);
  virtual int Getrlimit(int resource, struct rlimit* limit);
  virtual int Setrlimit(int resource, const struct rlimit* limit);
  virtual int Prctl(int option, uint64_t argument);
  // Returns only on failure.
  virtual int Execveat(int fd, char* const argv[], char* const envp[]);
};

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_SYSCALLS_H_
