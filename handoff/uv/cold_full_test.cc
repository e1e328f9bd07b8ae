// Connections that are put aside when the channel that takes them is full: there is another set,
// and what has no place in any crosses with the rest.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <uv.h>

#include <functional>
#include <set>
#include <string>

#include "handoff/component.h"
#include "handoff/uv/testing/cold_connections.h"
#include "handoff/uv/testing/fd_limit.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using testing::FdLimit;

constexpr int kHighestFd = 4096;  // that is looked at

// The open ends of unnamed pairs of UNIX stream sockets.
std::set<int> SocketPairs() {
  std::set<int> ends;
  for (int fd = 0; fd < kHighestFd; ++fd) {
    sockaddr_storage peer = {};
    socklen_t size = sizeof(peer);
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
    if (peer.ss_family == AF_UNIX && size <= sizeof(sa_family_t)) ends.insert(fd);
  }
  return ends;
}

class ColdFullTest : public testing::ColdConnectionsTest {
 protected:
  // Begins to put connections aside, into a set whose channel takes only a few batches; returns
  // when that is done.
  void PrecopyIntoASmallSet() {
    const std::set<int> before = SocketPairs();
    bool done = false;
    server_->Precopy(Successor(), [&](const absl::Status&) { done = true; });
    // It is made in a turn of the loop, and filled by a timer, from the next one on.
    while (SocketPairs() == before) uv_run(loop_.loop(), UV_RUN_NOWAIT);
    ASSERT_EQ(counts_.cold, 0);
    for (int fd : SocketPairs()) {
      const int smallest = 1;
      if (before.count(fd) != 0) continue;
      ASSERT_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest)), 0);
    }
    on_small_set_();
    loop_.RunUntil([&] { return done; });
  }

  // Of which the image speaks.
  int CarriedSets() {
    ExportContext context;
    EXPECT_TRUE(server_->Export(context).ok());
    int sets = 0;
    for (const CarriedFd& fd : context.fds()) sets += fd.role == "cold-escrow" ? 1 : 0;
    return sets;
  }

  // Some wake before the blackout, some in it, and the others after it.
  void ExpectAllCrossInSets(int sets) {
    for (int i = 0; i < kClients; i += 29) ASSERT_TRUE(IsServed(i)) << i;
    ASSERT_TRUE(server_->Quiesce().ok());
    EXPECT_EQ(CarriedSets(), sets);
    CarriedState state = Export();
    for (int i = 1; i < kClients; i += 29) clients_[i].Send("y");
    server_ = Make();
    counts_.closed = 0;
    const absl::Status status = state.RehydrateInto(*server_);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(state.fds_left(), 0u);
    EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
    server_->Activate();
    for (int i = 0; i < kClients; ++i) {
      if (i % 29 != 1) clients_[i].Send("y");
      const int seen = i % 5 + 1 + (i % 29 == 0 ? 2 : 1);
      ASSERT_TRUE(loop_.RunUntil([&] { return clients_[i].Has(std::to_string(seen) + ";"); })) << i;
    }
    loop_.RunUntil([&] { return !server_->HasAside(); });
    EXPECT_EQ(server_->size(), static_cast<size_t>(kClients));
    EXPECT_EQ(counts_.closed, 0);
  }

  std::function<void()> on_small_set_ = [] {};
};

TEST_F(ColdFullTest, ASecondSetTakesThoseForWhomTheFirstHasNoRoom) {
  Start();
  PrecopyIntoASmallSet();
  EXPECT_EQ(counts_.cold, kClients) << "no one was left out";
  ExpectAllCrossInSets(2);
}

TEST_F(ColdFullTest, BothSetsAreTakenBackWhenTheUpgradeIsAbandoned) {
  Start();
  const size_t before = testing::OpenFds();
  PrecopyIntoASmallSet();
  server_->AbandonPrecopy();
  loop_.RunUntil([&] { return counts_.loaded == kClients; });
  loop_.RunUntil([&] { return testing::OpenFds() == before; });
  EXPECT_FALSE(server_->HasAside());
  ExpectAllServed();
}

TEST_F(ColdFullTest, WhereThereIsNoFdForASecondSetTheOthersCrossInTheBlackout) {
  Start();
  FdLimit limit;
  on_small_set_ = [&] { limit.LeaveNone(); };
  PrecopyIntoASmallSet();
  limit.Restore();
  EXPECT_GT(counts_.cold, 0);
  EXPECT_LT(counts_.cold, kClients);
  ExpectAllCrossInSets(1);
}

}  // namespace
}  // namespace liveexec::uv
