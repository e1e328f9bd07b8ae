#include "handoff/uv/poll_init.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cstring>
#include <vector>

#include "core/unique_fd.h"
#include "handoff/uv/loop_executor.h"

namespace liveexec::uv {
namespace {

struct Pair {
  UniqueFd ours, peers;
};

Pair SocketPair() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

class InitPollTest : public ::testing::Test {
 protected:
  InitPollTest() {
    uv_loop_init(&loop_);
    // The first one of the process is libuv's own.
    EXPECT_EQ(InitPoll(&loop_, &first_, pair_.ours.get()), 0);
  }
  ~InitPollTest() override {
    uv_close(reinterpret_cast<uv_handle_t*>(&first_), nullptr);
    EXPECT_TRUE(CloseLoop(&loop_).ok());
  }

  uv_loop_t loop_;
  Pair pair_ = SocketPair();
  uv_poll_t first_;
};

TEST_F(InitPollTest, TheHandleIsLikeOneOfLibuvsOwnInEveryField) {
  Pair a = SocketPair();
  uv_poll_t ours, libuvs;
  // What neither sets is the same.
  memset(&ours, 0x5a, sizeof(ours));
  memset(&libuvs, 0x5a, sizeof(libuvs));
  ASSERT_EQ(InitPoll(&loop_, &ours, a.ours.get()), 0);
  ASSERT_EQ(uv_poll_init(&loop_, &libuvs, a.ours.get()), 0);
  EXPECT_EQ(libuvs.handle_queue[1], static_cast<void*>(&ours.handle_queue)) << "behind ours";
  // The links into rings are about the handle itself: made equal, all the rest must be.
  auto without_links = [](uv_poll_t handle) {
    memset(&handle.handle_queue, 0, sizeof(handle.handle_queue));
    memset(&handle.io_watcher.pending_queue, 0, sizeof(handle.io_watcher.pending_queue));
    memset(&handle.io_watcher.watcher_queue, 0, sizeof(handle.io_watcher.watcher_queue));
    return handle;
  };
  uv_poll_t one = without_links(ours), other = without_links(libuvs);
  EXPECT_EQ(memcmp(&one, &other, sizeof(one)), 0);
  EXPECT_EQ(ours.io_watcher.pending_queue[0], static_cast<void*>(&ours.io_watcher.pending_queue));
  EXPECT_EQ(ours.io_watcher.watcher_queue[1], static_cast<void*>(&ours.io_watcher.watcher_queue));
  uv_close(reinterpret_cast<uv_handle_t*>(&ours), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&libuvs), nullptr);
  uv_run(&loop_, UV_RUN_NOWAIT);
}

TEST_F(InitPollTest, SuchHandlesWatchStopAndCloseInAnyOrder) {
  struct Watched {
    Pair pair = SocketPair();
    uv_poll_t poll;
    int events = 0;
  };
  std::vector<Watched> all(20);
  for (Watched& one : all) {
    ASSERT_EQ(InitPoll(&loop_, &one.poll, one.pair.ours.get()), 0);
    one.poll.data = &one;
    ASSERT_EQ(uv_poll_start(&one.poll, UV_READABLE,
                            [](uv_poll_t* poll, int status, int events) {
                              EXPECT_EQ(status, 0);
                              static_cast<Watched*>(poll->data)->events |= events;
                            }),
              0);
  }
  for (size_t i = 0; i < all.size(); i += 2) ASSERT_EQ(write(all[i].pair.peers.get(), "x", 1), 1);
  uv_run(&loop_, UV_RUN_NOWAIT);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].events, i % 2 == 0 ? UV_READABLE : 0);
  uv_poll_t again;
  EXPECT_EQ(InitPoll(&loop_, &again, all[0].pair.ours.get()), UV_EEXIST);
  for (size_t i : {5, 0, 19}) uv_poll_stop(&all[i].poll);
  for (size_t i = 0; i < all.size(); ++i) {
    uv_close(reinterpret_cast<uv_handle_t*>(&all[(i * 7) % all.size()].poll), nullptr);
  }
  uv_run(&loop_, UV_RUN_NOWAIT);
}

}  // namespace
}  // namespace liveexec::uv
