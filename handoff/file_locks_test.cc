#include "handoff/file_locks.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"

namespace liveexec {
namespace {

class FileLocksTest : public ::testing::Test {
 protected:
  FileLocksTest() : file_(mkostemp(path_.data(), O_CLOEXEC)) {}
  ~FileLocksTest() override { unlink(path_.c_str()); }

  // Holds `lock` on the file in another process, until that is destroyed.
  class Holder {
   public:
    Holder(const std::string& path, const FileLock& lock) {
      int ready[2];
      if (pipe(ready) != 0) abort();
      pid_ = fork();
      if (pid_ == 0) {
        int fd = open(path.c_str(), O_RDWR);
        bool taken = TakeLock(Syscalls::Kernel(), fd, lock).ok();
        if (!taken || write(ready[1], "r", 1) != 1) _exit(1);
        pause();
      }
      char byte;
      EXPECT_EQ(read(ready[0], &byte, 1), 1);
      close(ready[0]);
      close(ready[1]);
    }
    ~Holder() {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    pid_t pid() const { return pid_; }

   private:
    pid_t pid_;
  };

  std::string path_ = "/tmp/lockXXXXXX";
  UniqueFd file_;
};

TEST_F(FileLocksTest, ListsWhatItTook) {
  const FileLock head{.exclusive = true, .start = 0, .length = 10};
  const FileLock tail{.exclusive = false, .start = 100, .length = 0};
  ASSERT_TRUE(TakeLock(Syscalls::Kernel(), file_.get(), head).ok());
  ASSERT_TRUE(TakeLock(Syscalls::Kernel(), file_.get(), tail).ok());
  auto locks = LocksOf(Syscalls::Kernel(), file_.get());
  ASSERT_TRUE(locks.ok()) << locks.status();
  ASSERT_EQ(locks->size(), 2u);
  EXPECT_TRUE((*locks)[0].exclusive);
  EXPECT_EQ((*locks)[0].start, 0);
  EXPECT_EQ((*locks)[0].length, 10);
  EXPECT_FALSE((*locks)[1].exclusive);
  EXPECT_EQ((*locks)[1].start, 100);
  EXPECT_EQ((*locks)[1].length, 0);
}

TEST_F(FileLocksTest, LeavesLocksOfTheOpenFileAlone) {
  ASSERT_EQ(flock(file_.get(), LOCK_EX), 0);
  struct flock open_file_lock = {};
  open_file_lock.l_type = F_WRLCK;
  ASSERT_EQ(fcntl(file_.get(), F_OFD_SETLK, &open_file_lock), 0);
  auto locks = LocksOf(Syscalls::Kernel(), file_.get());
  ASSERT_TRUE(locks.ok()) << locks.status();
  EXPECT_TRUE(locks->empty());
}

TEST_F(FileLocksTest, NamesTheProcessThatHasALock) {
  const FileLock lock{.exclusive = true, .start = 0, .length = 0};
  const Holder holder(path_, lock);
  const absl::Status status = TakeLock(Syscalls::Kernel(), file_.get(), lock);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(std::string(status.message()).find(absl::StrCat("PID ", holder.pid())),
            std::string::npos)
      << status;
}

TEST_F(FileLocksTest, RefusesWhatItDoesNotUnderstand) {
  EXPECT_TRUE(ParseLocks("pos:\t0\nflags:\t02\n")->empty());
  const std::string good = "lock:\t1: POSIX  ADVISORY  WRITE 7 00:01:9 5 EOF\n";
  ASSERT_EQ(ParseLocks(good)->size(), 1u);
  for (const char* bad : {"lock:\t1: POSIX  ADVISORY  WRITE 7 00:01:9 5\n",
                          "lock:\t1: POSIX  ADVISORY  WORSE 7 00:01:9 5 EOF\n",
                          "lock:\t1: POSIX  ADVISORY  WRITE 7 00:01:9 x EOF\n",
                          "lock:\t1: POSIX  ADVISORY  WRITE 7 00:01:9 5 4\n"}) {
    EXPECT_FALSE(ParseLocks(bad).ok()) << bad;
  }
  std::string many;
  for (size_t i = 0; i <= kMaxLocksOfFile; ++i) many += good;
  EXPECT_TRUE(absl::IsResourceExhausted(ParseLocks(many).status()));
}

}  // namespace
}  // namespace liveexec
