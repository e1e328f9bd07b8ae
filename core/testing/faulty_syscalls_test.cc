#include "core/testing/faulty_syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

using ::testing::ElementsAre;

TEST(FaultySyscalls, PassesEverythingOnWhileNoFaultIsSet) {
  FaultySyscalls syscalls;
  struct stat file;
  EXPECT_EQ(syscalls.Fstat(0, &file), 0);
  EXPECT_EQ(syscalls.Fstat(-1, &file), -EBADF);
  EXPECT_THAT(syscalls.calls(), ElementsAre("Fstat", "Fstat"));
  EXPECT_FALSE(syscalls.failed());
}

TEST(FaultySyscalls, FailsTheNthCallOfANameOnce) {
  FaultySyscalls syscalls;
  syscalls.Fail("Fstat", 2, EIO);
  struct stat file;
  struct rlimit limit;
  EXPECT_EQ(syscalls.Fstat(0, &file), 0);
  EXPECT_EQ(syscalls.Getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_FALSE(syscalls.failed());
  EXPECT_EQ(syscalls.Fstat(0, &file), -EIO);
  EXPECT_TRUE(syscalls.failed());
  EXPECT_EQ(syscalls.Fstat(0, &file), 0);
  EXPECT_EQ(syscalls.count("Fstat"), 3);
  EXPECT_EQ(syscalls.count("Mmap"), 0);
}

TEST(FaultySyscalls, FailsEverythingFromACallOn) {
  FaultySyscalls syscalls;
  syscalls.FailAny(2, ENOMEM, Times::kFromThenOn);
  struct stat file;
  EXPECT_EQ(syscalls.Fstat(0, &file), 0);
  int error = 0;
  EXPECT_EQ(syscalls.Mmap(4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, &error), nullptr);
  EXPECT_EQ(error, -ENOMEM);
  EXPECT_EQ(syscalls.Open("/", O_PATH | O_CLOEXEC), -ENOMEM);
}

TEST(FaultySyscalls, ACallThatFailsDoesNotReachTheKernel) {
  FaultySyscalls syscalls;
  syscalls.Fail("Setrlimit", 1, EPERM);
  struct rlimit before, after;
  ASSERT_EQ(syscalls.Getrlimit(RLIMIT_CORE, &before), 0);
  struct rlimit other = {before.rlim_cur == 0 ? before.rlim_max : 0, before.rlim_max};
  EXPECT_EQ(syscalls.Setrlimit(RLIMIT_CORE, &other), -EPERM);
  ASSERT_EQ(syscalls.Getrlimit(RLIMIT_CORE, &after), 0);
  EXPECT_EQ(after.rlim_cur, before.rlim_cur);
}

TEST(ForEachCall, FailsEachCallInTurn) {
  std::vector<std::vector<int>> results;
  int count = ForEachCall(EIO, Times::kOnce, [&](FaultySyscalls& syscalls) {
    struct stat file;
    struct rlimit limit;
    results.push_back({syscalls.Fstat(0, &file), syscalls.Getrlimit(RLIMIT_CORE, &limit)});
  });
  EXPECT_EQ(count, 2);
  EXPECT_THAT(results, ElementsAre(ElementsAre(0, 0), ElementsAre(-EIO, 0), ElementsAre(0, -EIO)));
}

}  // namespace
}  // namespace liveexec
