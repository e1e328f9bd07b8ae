#include "handoff/uv/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "core/error.h"
#include "handoff/uv/testing/carried_state.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;

class FilesTest : public ::testing::Test {
 protected:
  FilesTest() : directory_(mkdtemp(pattern_)), path_(directory_ + "/log") {}
  ~FilesTest() override {
    unlink(path_.c_str());
    unlink((path_ + ".1").c_str());
    rmdir(directory_.c_str());
  }

  static std::string Contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  void Upgrade() {
    ASSERT_TRUE(files_->Quiesce().ok());
    EXPECT_EQ(files_->fd("log"), -1);
    EXPECT_EQ(files_->Append("log", "x").code(), absl::StatusCode::kFailedPrecondition);
    auto state = CarriedState::Of(*files_);
    ASSERT_TRUE(state.ok()) << state.status();
    files_ = std::make_unique<Files>("files");
    const absl::Status status = state->RehydrateInto(*files_);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(state->fds_left(), 0u);
  }

  char pattern_[32] = "/tmp/liveexec-XXXXXX";
  const std::string directory_;
  const std::string path_;
  std::unique_ptr<Files> files_ = std::make_unique<Files>("files");
};

TEST_F(FilesTest, GoOnAtTheirOffset) {
  ASSERT_TRUE(files_->Open("log", path_, O_RDWR | O_CREAT).ok());
  ASSERT_TRUE(files_->Append("log", "one,two,").ok());
  ASSERT_EQ(lseek(files_->fd("log"), 4, SEEK_SET), 4);
  Upgrade();
  EXPECT_EQ(files_->path("log"), path_);
  ASSERT_TRUE(files_->Append("log", "TWO").ok());
  EXPECT_EQ(Contents(path_), "one,TWO,");
}

TEST_F(FilesTest, StayInAppendModeAndWithTheSameInodeWhenTheyAreRenamed) {
  ASSERT_TRUE(files_->Open("log", path_, O_WRONLY | O_CREAT | O_APPEND).ok());
  ASSERT_TRUE(files_->Append("log", "before ").ok());
  ASSERT_EQ(rename(path_.c_str(), (path_ + ".1").c_str()), 0);
  Upgrade();
  std::ofstream(path_ + ".1", std::ios::app) << "somebody else ";
  ASSERT_TRUE(files_->Append("log", "after").ok());
  EXPECT_EQ(Contents(path_ + ".1"), "before somebody else after");
}

TEST_F(FilesTest, KeepTheirLocks) {
  ASSERT_TRUE(files_->Open("log", path_, O_RDWR | O_CREAT).ok());
  ASSERT_EQ(flock(files_->fd("log"), LOCK_EX | LOCK_NB), 0);
  Upgrade();
  UniqueFd other(open(path_.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(flock(other.get(), LOCK_EX | LOCK_NB), -1);
  ASSERT_TRUE(files_->Close("log").ok());
  EXPECT_EQ(flock(other.get(), LOCK_EX | LOCK_NB), 0);
}

TEST_F(FilesTest, AreCloseOnExecHoweverTheyWereOpened) {
  ASSERT_TRUE(
      files_->Adopt("log", UniqueFd(open(path_.c_str(), O_RDWR | O_CREAT, 0600)), "x").ok());
  EXPECT_EQ(fcntl(files_->fd("log"), F_GETFD), FD_CLOEXEC);
}

TEST_F(FilesTest, GoOnWhenTheUpgradeIsAbandoned) {
  ASSERT_TRUE(files_->Open("log", path_, O_WRONLY | O_CREAT).ok());
  ASSERT_TRUE(files_->Quiesce().ok());
  files_->Resume();
  EXPECT_TRUE(files_->Append("log", "x").ok());
}

TEST_F(FilesTest, SayWhatWentWrong) {
  EXPECT_EQ(ErrnoOf(files_->Open("log", directory_ + "/no/file", O_RDONLY)), ENOENT);
  EXPECT_EQ(files_->Append("log", "x").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(files_->Open("full", "/dev/full", O_WRONLY).ok());
  EXPECT_EQ(ErrnoOf(files_->Append("full", "x")), ENOSPC);
  EXPECT_TRUE(files_->Close("never").ok());
}

}  // namespace
}  // namespace liveexec::uv
