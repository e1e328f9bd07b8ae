// FdLimit: RLIMIT_NOFILE for a part of a test. Restored at its end, whatever the test does.
#ifndef LIVEEXEC_HANDOFF_UV_TESTING_FD_LIMIT_H_
#define LIVEEXEC_HANDOFF_UV_TESTING_FD_LIMIT_H_

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <vector>

#include "core/unique_fd.h"

namespace liveexec::uv::testing {

class FdLimit {
 public:
  FdLimit() { getrlimit(RLIMIT_NOFILE, &before_); }
  ~FdLimit() { Restore(); }
  FdLimit(const FdLimit&) = delete;
  FdLimit& operator=(const FdLimit&) = delete;

  // Leaves `count` fds beyond those that are open.
  void Leave(int count) {
    std::vector<UniqueFd> next;
    for (int i = 0; i <= count; ++i) next.emplace_back(dup(0));
    Set(static_cast<rlim_t>(next.back().get()));
  }
  // Also where some that are open are closed: no new fd is to be had.
  void LeaveNone() { Set(0); }
  void Restore() { Set(before_.rlim_cur); }

 private:
  void Set(rlim_t limit) {
    rlimit now = before_;
    now.rlim_cur = limit;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
  }

  rlimit before_;
};

}  // namespace liveexec::uv::testing

#endif  // LIVEEXEC_HANDOFF_UV_TESTING_FD_LIMIT_H_
