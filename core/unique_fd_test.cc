#include "core/unique_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <type_traits>
#include <utility>

#include "gtest/gtest.h"

namespace liveexec {
namespace {

static_assert(!std::is_copy_constructible_v<UniqueFd>);
static_assert(!std::is_copy_assignable_v<UniqueFd>);
static_assert(!std::is_convertible_v<UniqueFd, int>);
static_assert(!std::is_convertible_v<int, UniqueFd>);
static_assert(!std::is_convertible_v<UniqueFd, bool>);
static_assert(std::is_nothrow_move_constructible_v<UniqueFd>);

int OpenSomething() { return open("/", O_PATH | O_CLOEXEC); }
bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesWhatItOwnsAtTheEndOfItsLife) {
  int number = OpenSomething();
  {
    UniqueFd fd(number);
    EXPECT_TRUE(fd);
    EXPECT_EQ(fd.get(), number);
    EXPECT_TRUE(IsOpen(number));
  }
  EXPECT_FALSE(IsOpen(number));
}

TEST(UniqueFd, OwnsNothingByDefaultAndForNegativeNumbers) {
  UniqueFd none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.get(), -1);
  EXPECT_FALSE(UniqueFd(-ENOENT));
}

TEST(UniqueFd, OwnsStandardInputLikeAnyOther) {
  UniqueFd fd(0);
  EXPECT_TRUE(fd);
  EXPECT_EQ(fd.release(), 0);
}

TEST(UniqueFd, MovingHandsOwnershipOn) {
  int number = OpenSomething();
  UniqueFd first(number);
  UniqueFd second(std::move(first));
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what is left behind is what is tested
  EXPECT_EQ(second.get(), number);
  int other = OpenSomething();
  UniqueFd third(other);
  third = std::move(second);
  EXPECT_FALSE(IsOpen(other)) << "assignment closes what was owned before";
  EXPECT_EQ(third.get(), number);
  EXPECT_TRUE(IsOpen(number));
}

TEST(UniqueFd, MovingToItselfKeepsTheFd) {
  UniqueFd fd(OpenSomething());
  int number = fd.get();
  UniqueFd& same = fd;
  fd = std::move(same);
  EXPECT_EQ(fd.get(), number);
  EXPECT_TRUE(IsOpen(number));
}

TEST(UniqueFd, ReleaseGivesTheNumberAwayOpen) {
  int number;
  {
    UniqueFd fd(OpenSomething());
    number = fd.release();
    EXPECT_FALSE(fd);
  }
  EXPECT_TRUE(IsOpen(number));
  close(number);
}

TEST(UniqueFd, ResetClosesTheOldOneAndTakesTheNewOne) {
  int first = OpenSomething();
  int second = OpenSomething();
  UniqueFd fd(first);
  fd.reset(second);
  EXPECT_FALSE(IsOpen(first));
  EXPECT_EQ(fd.get(), second);
  fd.reset();
  EXPECT_FALSE(IsOpen(second));
  EXPECT_FALSE(fd);
}

TEST(UniqueFd, ClosingKeepsErrnoEvenWhenCloseFails) {
  errno = ENOSPC;
  UniqueFd(OpenSomething()).reset();
  EXPECT_EQ(errno, ENOSPC);
  int number = OpenSomething();
  UniqueFd stale(number);
  close(number);
  errno = ENOSPC;
  stale.reset();  // EBADF inside
  EXPECT_EQ(errno, ENOSPC);
}

}  // namespace
}  // namespace liveexec
