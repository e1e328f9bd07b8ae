#include "core/pinned_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/testing/faulty_syscalls.h"
#include "core/testing/open_files.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

Syscalls& Kernel() { return Syscalls::Kernel(); }

class PinnedImageTest : public ::testing::Test {
 protected:
  PinnedImageTest() { EXPECT_NE(mkdtemp(directory_.data()), nullptr); }
  ~PinnedImageTest() override {
    for (const char* name : {"a", "b", "b (deleted)"}) unlink(Path(name).c_str());
    rmdir(directory_.c_str());
  }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  void Write(const std::string& name, const std::string& text) const {
    UniqueFd fd(open(Path(name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0700));
    ASSERT_EQ(write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

 private:
  std::string directory_ = "/tmp/lvx.XXXXXX";
};

TEST_F(PinnedImageTest, StaysTheSameFileWhenItsNameGoesToAnother) {
  Write("a", "old");
  Write("b", "other");
  auto image = PinnedImage::Open(Kernel(), Path("a"));
  ASSERT_TRUE(image.ok()) << image.status();
  FileIdentity other = PinnedImage::Open(Kernel(), Path("b"))->identity();
  ASSERT_EQ(rename(Path("b").c_str(), Path("a").c_str()), 0);
  EXPECT_EQ(IdentityOf(Kernel(), image->fd())->inode, image->identity().inode);
  EXPECT_EQ(PinnedImage::Open(Kernel(), Path("a"))->identity().inode, other.inode);
  EXPECT_EQ(image->path(), Path("a"));
  // And its content can still be had.
  UniqueFd fd(open(("/proc/self/fd/" + std::to_string(image->fd())).c_str(), O_RDONLY | O_CLOEXEC));
  char text[8] = {};
  EXPECT_EQ(read(fd.get(), text, sizeof(text)), 3);
  EXPECT_STREQ(text, "old");
}

TEST_F(PinnedImageTest, TheIdentityIsTheSameWhileNobodyTouchesTheFile) {
  Write("a", "old");
  auto image = PinnedImage::Open(Kernel(), Path("a"));
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(*IdentityOf(Kernel(), image->fd()), image->identity());
}

TEST_F(PinnedImageTest, TheIdentityChangesWhenTheFileIsWrittenInPlace) {
  Write("a", "old");
  auto image = PinnedImage::Open(Kernel(), Path("a"));
  ASSERT_TRUE(image.ok());
  Write("a", "+");
  EXPECT_NE(*IdentityOf(Kernel(), image->fd()), image->identity());
}

TEST_F(PinnedImageTest, TheIdentityChangesWhenModeOrSizeDo) {
  Write("a", "old");
  auto image = PinnedImage::Open(Kernel(), Path("a"));
  ASSERT_TRUE(image.ok());
  // The mode alone: seen by ctime, whose clock ticks every few milliseconds. Bounded wait for a
  // tick, by the file system's own clock.
  for (int i = 0; i < 100'000 && *IdentityOf(Kernel(), image->fd()) == image->identity(); ++i) {
    ASSERT_EQ(chmod(Path("a").c_str(), 0500), 0);
  }
  EXPECT_NE(*IdentityOf(Kernel(), image->fd()), image->identity());
  image = PinnedImage::Open(Kernel(), Path("a"));
  ASSERT_EQ(truncate(Path("a").c_str(), 1), 0);
  EXPECT_NE(*IdentityOf(Kernel(), image->fd()), image->identity());
}

TEST_F(PinnedImageTest, AnAdoptedFileSaysThePathThatItHadAlsoWhenAnotherHasItNow) {
  Write("a", "old");
  Write("b (deleted)", "a file may be called so");
  auto open_path = [&](const char* name) {
    return UniqueFd(open(Path(name).c_str(), O_PATH | O_CLOEXEC));
  };
  UniqueFd fd = open_path("a");
  ASSERT_EQ(PinnedImage::Adopt(Kernel(), open_path("a"))->path(), Path("a"));
  ASSERT_EQ(unlink(Path("a").c_str()), 0);
  EXPECT_EQ(PinnedImage::Adopt(Kernel(), std::move(fd))->path(), Path("a"));
  EXPECT_EQ(PinnedImage::Adopt(Kernel(), open_path("b (deleted)"))->path(), Path("b (deleted)"));
  EXPECT_EQ(PinnedImage::Adopt(Kernel(), open_path("b (deleted)"), "given")->path(), "given");
}

TEST_F(PinnedImageTest, IsCloseOnExecAndKeepsTheFileFromBeingRead) {
  Write("a", "old");
  auto image = PinnedImage::Open(Kernel(), Path("a"));
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(fcntl(image->fd(), F_GETFD), FD_CLOEXEC);
  char byte;
  EXPECT_EQ(read(image->fd(), &byte, 1), -1);
  EXPECT_EQ(errno, EBADF);
}

TEST_F(PinnedImageTest, ErrorsCarryTheErrno) {
  EXPECT_EQ(ErrnoOf(PinnedImage::Open(Kernel(), Path("missing")).status()), ENOENT);
  Write("a", "old");
  EXPECT_EQ(ErrnoOf(PinnedImage::Open(Kernel(), Path("a/b")).status()), ENOTDIR);
  EXPECT_EQ(ErrnoOf(IdentityOf(Kernel(), -1).status()), EBADF);
}

TEST_F(PinnedImageTest, OfThisProcessIsTheRunningProgram) {
  auto image = PinnedImage::OfThisProcess(Kernel());
  ASSERT_TRUE(image.ok()) << image.status();
  UniqueFd self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(IdentityOf(Kernel(), self.get())->inode, image->identity().inode);
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  ASSERT_GT(length, 0);
  EXPECT_EQ(image->path(), std::string(path, static_cast<size_t>(length)));
}

TEST_F(PinnedImageTest, EveryFailingCallIsAnErrorAndLeaksNothing) {
  auto before = OpenFiles();
  int count = ForEachCall(EIO, Times::kOnce, [](FaultySyscalls& syscalls) {
    auto image = PinnedImage::OfThisProcess(syscalls);
    if (syscalls.failed()) {
      EXPECT_EQ(ErrnoOf(image.status()), EIO) << image.status();
    }
  });
  EXPECT_EQ(count, 3);
  EXPECT_EQ(OpenFiles(), before);
}

}  // namespace
}  // namespace liveexec
