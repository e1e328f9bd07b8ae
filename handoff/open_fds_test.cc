#include "handoff/open_fds.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "core/testing/open_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<OpenFd> List() {
  FdInspector inspector(Syscalls::Kernel());
  auto open = ListOpenFds(Syscalls::Kernel(), inspector);
  EXPECT_TRUE(open.ok()) << open.status();
  return *std::move(open);
}

const OpenFd* Find(const std::vector<OpenFd>& open, int fd) {
  for (const OpenFd& one : open) {
    if (one.fd == fd) return &one;
  }
  return nullptr;
}

TEST(ListOpenFds, HasEveryFdButStdioOnceAndInOrder) {
  UniqueFd event(eventfd(0, 0)), memory(memfd_create("test", MFD_CLOEXEC));
  UniqueFd path(open("/", O_PATH | O_CLOEXEC));
  UniqueFd high(fcntl(event.get(), F_DUPFD_CLOEXEC, 300));
  std::vector<OpenFd> open = List();
  std::vector<int> listed, expected;
  for (const OpenFd& one : open) listed.push_back(one.fd);
  for (const auto& [fd, target] : OpenFiles()) {
    if (fd > 2) expected.push_back(fd);
  }
  EXPECT_EQ(listed, expected);
  ASSERT_NE(Find(open, event.get()), nullptr);
  EXPECT_EQ(Find(open, event.get())->kind, FdKind::kEventfd);
  EXPECT_TRUE(Find(open, event.get())->inheritable);
  ASSERT_NE(Find(open, memory.get()), nullptr);
  EXPECT_EQ(Find(open, memory.get())->kind, FdKind::kMemfd);
  EXPECT_FALSE(Find(open, memory.get())->inheritable);
  ASSERT_NE(Find(open, high.get()), nullptr);
  ASSERT_NE(Find(open, path.get()), nullptr);
  EXPECT_EQ(Find(open, path.get())->kind, FdKind::kDirectory);
}

TEST(ListOpenFds, LeaksNothing) {
  auto before = OpenFiles();
  List();
  EXPECT_EQ(OpenFiles(), before);
}

TEST(LeftBehind, NamesWhatIsNotCarried) {
  std::vector<OpenFd> open = {
      {5, FdKind::kEventfd, false}, {7, FdKind::kTcpStream, false}, {9, FdKind::kFile, true}};
  const auto all = [](int) { return true; };
  EXPECT_THAT(LeftBehind(open, {7}, all, 64), ElementsAre("5 eventfd", "9 file"));
  EXPECT_THAT(LeftBehind(open, {5, 7, 9}, all, 64), IsEmpty());
  EXPECT_THAT(LeftBehind(open, {}, all, 2), ElementsAre("5 eventfd", "7 tcp stream", "and 1 more"));
  EXPECT_THAT(LeftBehind({}, {1}, all, 2), IsEmpty());
}

TEST(LeftBehind, DoesNotNameWhatWasClosedSinceItWasListed) {
  std::vector<OpenFd> open = {{5, FdKind::kTcpStream}, {7, FdKind::kTcpStream}};
  EXPECT_THAT(LeftBehind(
                  open, {}, [](int fd) { return fd != 5; }, 64),
              ElementsAre("7 tcp stream"));
}

}  // namespace
}  // namespace liveexec
