// FdReserve: keeps newcomers from taking the fds that connections which are put aside need to come
// back (cold_set.h). What is aside is in no fd table, so the kernel would hand its numbers to
// whoever connects next, and an established connection would not be served for want of one.
//
// While anything is aside, a listener accepts only as long as more fds are free than are held here,
// and none at all while a loop lacks fds to take back. One for the process, as the fd table is:
// several servers share it.
//
// The free fds are counted rarely: putting aside and taking back change nothing (a member holds one
// fd here or has one), and accepting and closing change the count by one.
//
// Any thread.
#ifndef LIVEEXEC_HANDOFF_UV_FD_RESERVE_H_
#define LIVEEXEC_HANDOFF_UV_FD_RESERVE_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>

namespace liveexec::uv {

class FdReserve {
 public:
  static FdReserve& OfThisProcess();

  // Holds so many more fds that are free, or fewer: what it takes to fetch a member.
  void Hold(std::ptrdiff_t change);
  // So many connections have given their fds up to be put aside, or got them back.
  void PutAside(std::ptrdiff_t change);
  // A loop cannot take back for want of fds, or can again.
  void BeginLacking() { ++lacking_; }
  void EndLacking() { --lacking_; }

  // Whether one more connection may be accepted.
  bool MayAccept();
  // A connection was accepted; was closed.
  void Accepted() { --surplus_; }
  void Closed() { ++surplus_; }

  // How many fds RLIMIT_NOFILE leaves; `enough` when there are so many or more. Takes some 20 ns
  // for each, and for each open one that it finds on its way down from the limit.
  static size_t CountFree(size_t enough);

 private:
  bool CountAgain();

  std::atomic<std::ptrdiff_t> held_{0};
  std::atomic<std::ptrdiff_t> surplus_{0};  // free fds that are not held, as far as is known
  std::atomic<int> lacking_{0};
  std::mutex mutex_;
  std::chrono::steady_clock::time_point next_count_;  // guarded by mutex_
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_FD_RESERVE_H_
