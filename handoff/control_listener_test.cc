#include "handoff/control_listener.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "handoff/control_test_util.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

mode_t ModeOf(const std::string& path) {
  struct stat file = {};
  EXPECT_EQ(lstat(path.c_str(), &file), 0) << path;
  return file.st_mode & 07777;
}

bool Exists(const std::string& path) {
  struct stat file;
  return lstat(path.c_str(), &file) == 0;
}

std::string CodeOfBinding(const std::string& path) {
  return CodeOf(ControlListener::Bind(path).status());
}

TEST(ControlListener, MakesItsDirectoryAndSocketForUsOnly) {
  TestDirectory parent;
  const std::string directory = parent.path() + "/new";
  const mode_t before = umask(0);
  auto listener = ControlListener::Bind(directory + "/control");
  umask(before);
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(ModeOf(directory), 0700u);
  EXPECT_EQ(ModeOf(directory + "/control"), 0600u);
  EXPECT_EQ(fcntl(listener->fd(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  listener->Unlink();
  EXPECT_FALSE(Exists(directory + "/control"));
  rmdir(directory.c_str());
}

TEST(ControlListener, RefusesADirectoryThatOthersMayEnter) {
  TestDirectory directory;
  for (mode_t mode : {0701u, 0710u, 0707u, 0770u, 0740u}) {
    ASSERT_EQ(chmod(directory.path().c_str(), mode), 0);
    EXPECT_EQ(CodeOfBinding(directory.socket()), "E_UNSAFE") << std::oct << mode;
    EXPECT_FALSE(Exists(directory.socket()));
  }
  ASSERT_EQ(chmod(directory.path().c_str(), 0700), 0);
  EXPECT_EQ(CodeOfBinding(directory.socket()), "");
}

TEST(ControlListener, RefusesADirectoryWhoseParentIsMissing) {
  TestDirectory directory;
  EXPECT_EQ(CodeOfBinding(directory.path() + "/a/b/control"), "E_UNSAFE");
}

TEST(ControlListener, RefusesPathsThatNoSocketCanHave) {
  TestDirectory directory;
  EXPECT_EQ(CodeOfBinding(""), "E_UNSAFE");
  EXPECT_EQ(CodeOfBinding(directory.path() + "/" + std::string(100, 'x')), "E_UNSAFE");
}

TEST(ControlListener, ReplacesTheSocketOfADeadServerButNotOfALiveOne) {
  TestDirectory directory;
  {
    auto dead = ControlListener::Bind(directory.socket());
    ASSERT_TRUE(dead.ok()) << dead.status();
  }
  ASSERT_TRUE(Exists(directory.socket()));
  auto live = ControlListener::Bind(directory.socket());
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_EQ(CodeOfBinding(directory.socket()), "E_INUSE");
  RawClient client(directory.socket());
  EXPECT_TRUE(client.connected());
}

TEST(ControlListener, RefusesALiveServerWhoseBacklogIsFull) {
  TestDirectory directory;
  auto live = ControlListener::Bind(directory.socket());
  ASSERT_TRUE(live.ok()) << live.status();
  std::vector<RawClient> clients;
  do {
    clients.emplace_back(directory.socket());
  } while (clients.back().connected() && clients.size() < 1000);
  ASSERT_FALSE(clients.back().connected());
  EXPECT_EQ(CodeOfBinding(directory.socket()), "E_INUSE");
  EXPECT_TRUE(Exists(directory.socket()));
}

TEST(ControlListener, RefusesANameThatIsNoSocket) {
  TestDirectory directory;
  UniqueFd file(open(directory.socket().c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  EXPECT_EQ(CodeOfBinding(directory.socket()), "E_INUSE");
  EXPECT_TRUE(Exists(directory.socket()));
}

// Servers that are started together share /run/NAME as often as not.
TEST(ControlListener, WaitsForOthersThatBindInItsDirectory) {
  TestDirectory directory;
  constexpr int kServers = 8;
  std::atomic<int> failed = 0;
  std::vector<std::thread> servers;
  for (int i = 0; i < kServers; ++i) {
    servers.emplace_back([&failed, path = directory.socket() + std::to_string(i)] {
      for (int round = 0; round < 200; ++round) {
        auto listener = ControlListener::Bind(path);
        if (!listener.ok()) ++failed;
        if (listener.ok()) listener->Unlink();
      }
    });
  }
  for (std::thread& server : servers) server.join();
  EXPECT_EQ(failed, 0);
}

TEST(ControlListener, UnlinksOnlyItsOwnSocket) {
  TestDirectory directory;
  auto first = ControlListener::Bind(directory.socket());
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string moved = directory.path() + "/moved";
  ASSERT_EQ(rename(directory.socket().c_str(), moved.c_str()), 0);
  auto second = ControlListener::Bind(directory.socket());
  ASSERT_TRUE(second.ok()) << second.status();
  first->Unlink();
  EXPECT_TRUE(Exists(directory.socket()));
  second->Unlink();
  EXPECT_FALSE(Exists(directory.socket()));
  unlink(moved.c_str());
}

}  // namespace
}  // namespace liveexec
