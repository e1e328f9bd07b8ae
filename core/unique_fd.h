// UniqueFd: the owner of one file descriptor.
//
//   core::UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
//   if (!fd) return absl::ErrnoToStatus(errno, path);
//   Use(fd.get());  // an `int fd` parameter is borrowed, never owned
//
// Move-only, no implicit conversion to int. Not thread-safe, like any value.
// After exec() no destructor has run: what must not cross is CLOEXEC, which every fd here is from
// birth.
#ifndef LIVEEXEC_CORE_UNIQUE_FD_H_
#define LIVEEXEC_CORE_UNIQUE_FD_H_

#include <utility>

namespace liveexec {

class UniqueFd {
 public:
  UniqueFd() = default;
  // Takes ownership of `fd`; a negative number means "none".
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  // The number, borrowed: valid while this object owns it. -1 for none.
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  // Gives the number away; the caller owns it now.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

  // Closes what is owned, then owns `fd`. close() is never retried: on Linux the number is free
  // even when close() fails with EINTR, and by then may belong to another thread.
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_UNIQUE_FD_H_
