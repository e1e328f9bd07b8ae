// Connections that are put aside where fds, or room in files, are short. An established connection
// comes before those who want to become one.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/unique_fd.h"
#include "handoff/uv/socket_address.h"
#include "handoff/uv/testing/cold_connections.h"
#include "handoff/uv/testing/fd_limit.h"

namespace liveexec::uv {
namespace {

using testing::FdLimit;
using testing::TestClient;

class ColdLimitsTest : public testing::ColdConnectionsTest {
 protected:
  static constexpr int kNewcomers = 400;

  // Sockets for clients to come: this process's fds are the server's as well.
  void PrepareNewcomers() {
    for (int i = 0; i < kNewcomers; ++i) {
      sockets_.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    }
  }
  // Into the queue of the listener.
  void ConnectNewcomers() {
    const auto address = SocketAddress::Resolve("127.0.0.1", port_, SOCK_STREAM);
    ASSERT_TRUE(address.ok());
    for (UniqueFd& fd : sockets_) {
      ASSERT_EQ(connect(fd.get(), address->get(), address->length()), 0);
      newcomers_.emplace_back(std::move(fd));
    }
  }
  // As long as a listener that may would accept all of them.
  void LetTheListenerTry() {
    for (int i = 0; i < 100; ++i) uv_run(loop_.loop(), UV_RUN_ONCE);
  }
  void ExpectNewcomersServed() {
    for (TestClient& client : newcomers_) {
      client.Send("x");
      ASSERT_TRUE(loop_.RunUntil([&] { return client.Has("1;"); }));
    }
  }

  std::vector<UniqueFd> sockets_;
  std::vector<TestClient> newcomers_;
};

TEST_F(ColdLimitsTest, NewcomersDoNotGetTheFdsOfThoseWhoArePutAside) {
  Start();
  PrepareNewcomers();
  FdLimit limit;
  limit.Leave(60);
  Precopy();
  ASSERT_EQ(counts_.cold, kClients);
  ConnectNewcomers();
  LetTheListenerTry();
  EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
  // One that wakes is served at once, and all when the upgrade is abandoned.
  ASSERT_TRUE(IsServed(7));
  server_->AbandonPrecopy();
  for (int i = 0; i < kClients; ++i) ASSERT_TRUE(IsServed(i, i == 7 ? 2 : 1)) << i;
  // Then there is room for some of the others again, as ever, and at last for all.
  ASSERT_TRUE(loop_.RunUntil([&] { return server_->size() > static_cast<size_t>(kClients); }));
  limit.Restore();
  ExpectNewcomersServed();
}

TEST_F(ColdLimitsTest, NewcomersAreAcceptedWhereThereIsRoomForAll) {
  Start();
  PrepareNewcomers();
  Precopy();
  ConnectNewcomers();
  ExpectNewcomersServed();
  EXPECT_TRUE(server_->HasAside());
}

TEST_F(ColdLimitsTest, TheNewProgramTakesThemBackBeforeItAcceptsNewcomers) {
  Start();
  PrepareNewcomers();
  FdLimit limit;
  limit.Leave(60);
  Precopy();
  ConnectNewcomers();
  Rehydrate();
  server_->Activate();
  for (int i = 0; i < kClients; ++i) ASSERT_TRUE(IsServed(i)) << i;
  limit.Restore();
  ExpectNewcomersServed();
}

// Not for want of a rule for newcomers: the application itself has opened too much.
TEST_F(ColdLimitsTest, FdsThatBecomeFreeGoToThoseWhoArePutAsideFirst) {
  Start();
  PrepareNewcomers();
  FdLimit limit;
  limit.Leave(60);
  Precopy();
  ConnectNewcomers();
  std::vector<UniqueFd> others;
  for (UniqueFd fd(dup(0)); fd; fd = UniqueFd(dup(0))) others.push_back(std::move(fd));
  server_->AbandonPrecopy();
  clients_[7].Send("y");
  LetTheListenerTry();
  // One after the other: each could be had by a newcomer.
  while (others.size() > 100) {
    others.pop_back();
    loop_.RunReady();
  }
  ASSERT_TRUE(loop_.RunUntil([&] { return clients_[7].Has("4;"); }));
  clients_[7].ForgetReceived();
  EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
  others.clear();
  for (int i = 0; i < kClients; ++i) ASSERT_TRUE(IsServed(i, i == 7 ? 2 : 1)) << i;
  limit.Restore();
  ExpectNewcomersServed();
}

TEST_F(ColdLimitsTest, NobodyIsPutAsideWhereNobodyCouldBeTakenBack) {
  Start();
  FdLimit limit;
  limit.Leave(20);
  Precopy();
  EXPECT_EQ(counts_.cold, 0);
  EXPECT_FALSE(server_->HasAside());
  ExpectAllServed();
}

TEST_F(ColdLimitsTest, ALimitOfFileSizesLeavesConnectionsWhereTheyAreAndKillsNobody) {
  Start();
  ASSERT_EQ(signal(SIGXFSZ, SIG_DFL), SIG_DFL);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit now = before;
  now.rlim_cur = 8192;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &now), 0);
  Precopy();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_LT(counts_.cold, kClients);
  Rehydrate();
  server_->Activate();
  ExpectAllServed();
}

}  // namespace
}  // namespace liveexec::uv
