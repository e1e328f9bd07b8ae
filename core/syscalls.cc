#include "core/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace liveexec {
namespace {

// The result of a libc wrapper in the interface's terms.
template <typename T>
T Result(T value) {
  return value == -1 ? static_cast<T>(-errno) : value;
}

template <typename Call>
auto Retry(Call call) {
  decltype(call()) value;
  do {
    value = call();
  } while (value == -1 && errno == EINTR);
  return Result(value);
}

}  // namespace

Syscalls& Syscalls::Kernel() {
  static Syscalls* const kernel = new Syscalls;
  return *kernel;
}

int Syscalls::MemfdCreate(const char* name, unsigned flags) {
  return Result(::memfd_create(name, flags));
}

int Syscalls::Ftruncate(int fd, int64_t length) {
  return Retry([&] { return ::ftruncate(fd, length); });
}

int64_t Syscalls::Pwrite(int fd, const void* data, size_t size, int64_t offset) {
  return Retry([&] { return ::pwrite(fd, data, size, offset); });
}

int64_t Syscalls::Pread(int fd, void* data, size_t size, int64_t offset) {
  return Retry([&] { return ::pread(fd, data, size, offset); });
}

void* Syscalls::Mmap(size_t length, int protection, int flags, int fd, int* error) {
  void* address = ::mmap(nullptr, length, protection, flags, fd, 0);
  if (address != MAP_FAILED) return address;
  *error = -errno;
  return nullptr;
}

void* Syscalls::MmapAt(void* address, size_t length, int protection, int flags, int fd,
                       int* error) {
  void* got = ::mmap(address, length, protection, flags | MAP_FIXED_NOREPLACE, fd, 0);
  if (got == address) return got;
  *error = got == MAP_FAILED ? -errno : -EEXIST;
  // A sanitizer that wants the place for itself maps elsewhere, as if the address were a hint.
  if (got != MAP_FAILED) ::munmap(got, length);
  return nullptr;
}

int Syscalls::Mprotect(void* address, size_t length, int protection) {
  return Result(::mprotect(address, length, protection));
}

int Syscalls::Madvise(void* address, size_t length, int advice) {
  return Retry([&] { return ::madvise(address, length, advice); });
}

int Syscalls::Fcntl(int fd, int command, int64_t argument) {
  return Retry([&] { return ::fcntl(fd, command, argument); });
}

int Syscalls::Fstat(int fd, struct stat* result) { return Result(::fstat(fd, result)); }

int Syscalls::Open(const char* path, int flags) {
  return Retry([&] { return ::open(path, flags); });
}

int64_t Syscalls::Readlink(const char* path, char* buffer, size_t size) {
  return Result(::readlink(path, buffer, size));
}

int Syscalls::Socketpair(int domain, int type, int protocol, int fds[2]) {
  return Result(::socketpair(domain, type, protocol, fds));
}

int64_t Syscalls::Sendmsg(int fd, const struct msghdr* message, int flags) {
  return Retry([&] { return ::sendmsg(fd, message, flags); });
}

int64_t Syscalls::Recvmsg(int fd, struct msghdr* message, int flags) {
  return Retry([&] { return ::recvmsg(fd, message, flags); });
}

int Syscalls::Setsockopt(int fd, int level, int option, const void* value, socklen_t size) {
  return Result(::setsockopt(fd, level, option, value, size));
}

int Syscalls::Getsockopt(int fd, int level, int option, void* value, socklen_t* size) {
  return Result(::getsockopt(fd, level, option, value, size));
}

int Syscalls::CloseRange(unsigned first, unsigned last, unsigned flags) {
  // The number, because Debian 12's glibc has no wrapper for the flag's newer meanings.
  return static_cast<int>(Result(::syscall(SYS_close_range, first, last, flags)));
}

int Syscalls::Sigprocmask(int how, const sigset_t* set, sigset_t* old) {
  return -::pthread_sigmask(how, set, old);
}

int Syscalls::Sigpending(sigset_t* set) { return Result(::sigpending(set)); }

int Syscalls::Getrlimit(int resource, struct rlimit* limit) {
  return Result(::getrlimit(static_cast<__rlimit_resource_t>(resource), limit));
}

int Syscalls::Setrlimit(int resource, const struct rlimit* limit) {
  return Result(::setrlimit(static_cast<__rlimit_resource_t>(resource), limit));
}

int Syscalls::Prctl(int option, uint64_t argument) {
  return Result(::prctl(option, argument, 0, 0, 0));
}

int Syscalls::Execveat(int fd, char* const argv[], char* const envp[]) {
  return static_cast<int>(Result(::syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH)));
}

}  // namespace liveexec
