#include "handoff/uv/raw_handles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <uv.h>

#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "handoff/uv/testing/carried_state.h"
#include "handoff/uv/testing/test_client.h"
#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

using testing::CarriedState;
using testing::TestClient;
using testing::TestLoop;

std::string Numbered(size_t size) {
  std::string bytes;
  for (uint64_t i = 0; bytes.size() < size; ++i) bytes += std::to_string(i) + ",";
  bytes.resize(size);
  return bytes;
}

// A component of two functions, as an existing server would write it.
class Carrier final : public Component {
 public:
  std::function<absl::Status(ExportContext&)> export_function;
  std::function<absl::Status(ImportContext&)> import_function;

  std::string_view name() const override { return "raw"; }
  absl::Status Export(ExportContext& context) const override { return export_function(context); }
  absl::Status Rehydrate(ImportContext& context) override { return import_function(context); }
};

template <typename Handle>
uv_handle_t* AsHandle(Handle* handle) {
  return reinterpret_cast<uv_handle_t*>(handle);
}

class RawHandlesTest : public ::testing::Test {
 protected:
  // Carries `old_handle` to what `adopt` makes, and closes the old one.
  template <typename Handle>
  void Carry(Handle* old_handle, std::function<absl::Status(ImportContext&)> adopt) {
    Carrier carrier;
    carrier.export_function = [&](ExportContext& context) {
      return CarryHandle(context, "handle", 3, AsHandle(old_handle));
    };
    carrier.import_function = std::move(adopt);
    auto state = CarriedState::Of(carrier);
    ASSERT_TRUE(state.ok()) << state.status();
    uv_close(AsHandle(old_handle), nullptr);
    loop_.RunReady();
    const absl::Status status = state->RehydrateInto(carrier);
    ASSERT_TRUE(status.ok()) << status;
  }

  TestLoop loop_;
};

TEST_F(RawHandlesTest, TellTheBytesOfWritesThatTheKernelHasNotTaken) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  TestClient peer{UniqueFd(fds[1])};
  uv_pipe_t pipe;
  ASSERT_EQ(uv_pipe_init(loop_.loop(), &pipe, 0), 0);
  ASSERT_EQ(uv_pipe_open(&pipe, fds[0]), 0);
  auto* stream = reinterpret_cast<uv_stream_t*>(&pipe);
  EXPECT_EQ(*UnsentBytes(stream), "");

  std::string all = Numbered(3 << 20);
  std::vector<uv_write_t> writes(3);
  for (size_t i = 0; i < writes.size(); ++i) {
    // Two buffers each, so that some are cut and some are not.
    char* begin = all.data() + (i << 20);
    const uv_buf_t parts[] = {uv_buf_init(begin, 1000),
                              uv_buf_init(begin + 1000, (1 << 20) - 1000)};
    ASSERT_EQ(uv_write(&writes[i], stream, parts, 2, [](uv_write_t*, int) {}), 0);
  }
  int rounds = 0;
  for (;; ++rounds) {
    auto unsent = UnsentBytes(stream);
    ASSERT_TRUE(unsent.ok()) << unsent.status();
    EXPECT_EQ(UnsentWrites(stream), static_cast<int>((unsent->size() + (1 << 20) - 1) >> 20));
    loop_.executor().SetCarriedOperations(nullptr);
    EXPECT_EQ(loop_.executor().OperationsInFlight(), UnsentWrites(stream));
    loop_.executor().SetCarriedOperations([&] { return UnsentWrites(stream); });
    EXPECT_EQ(loop_.executor().OperationsInFlight(), 0);
    peer.ReadSome();
    EXPECT_TRUE(peer.received() + *unsent == all) << "in round " << rounds;
    if (unsent->empty()) break;
    loop_.RunReady();
  }
  EXPECT_GT(rounds, 5);
  uv_close(AsHandle(&pipe), nullptr);
  loop_.RunReady();
}

TEST_F(RawHandlesTest, CarryAListeningTcpHandleWithItsQueue) {
  uv_tcp_t listener;
  ASSERT_EQ(uv_tcp_init(loop_.loop(), &listener), 0);
  sockaddr_in any;
  ASSERT_EQ(uv_ip4_addr("127.0.0.1", 0, &any), 0);
  ASSERT_EQ(uv_tcp_bind(&listener, reinterpret_cast<sockaddr*>(&any), 0), 0);
  ASSERT_EQ(uv_listen(reinterpret_cast<uv_stream_t*>(&listener), 16, [](uv_stream_t*, int) {}), 0);
  uv_os_fd_t fd;
  ASSERT_EQ(uv_fileno(AsHandle(&listener), &fd), 0);
  TestClient client = TestClient::Tcp("127.0.0.1", SocketAddress::Local(fd)->port());

  struct Accepted {
    uv_tcp_t listener;
    uv_tcp_t connection;
    bool done = false;
  } accepted;
  Carry(&listener, [&](ImportContext& context) {
    return AdoptTcp(context, "handle", 3, loop_.loop(), &accepted.listener);
  });
  accepted.listener.data = &accepted;
  ASSERT_EQ(uv_listen(reinterpret_cast<uv_stream_t*>(&accepted.listener), 16,
                      [](uv_stream_t* stream, int status) {
                        auto* self = static_cast<Accepted*>(stream->data);
                        ASSERT_EQ(status, 0);
                        uv_tcp_init(stream->loop, &self->connection);
                        ASSERT_EQ(
                            uv_accept(stream, reinterpret_cast<uv_stream_t*>(&self->connection)),
                            0);
                        self->done = true;
                      }),
            0);
  loop_.RunUntil([&] { return accepted.done; });
  // A connection crosses as well; its bytes are the kernel's.
  client.Send("x");
  uv_tcp_t next;
  Carry(&accepted.connection, [&](ImportContext& context) {
    return AdoptTcp(context, "handle", 3, loop_.loop(), &next);
  });
  uv_buf_t reply = uv_buf_init(const_cast<char*>("y"), 1);
  EXPECT_EQ(uv_try_write(reinterpret_cast<uv_stream_t*>(&next), &reply, 1), 1);
  loop_.RunUntil([&] { return client.Has("y"); });
  uv_close(AsHandle(&next), nullptr);
  uv_close(AsHandle(&accepted.listener), nullptr);
  loop_.RunReady();
}

TEST_F(RawHandlesTest, CarryPipesUdpAndPollHandles) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  TestClient peer{UniqueFd(fds[1])};
  uv_pipe_t old_pipe;
  uv_pipe_t new_pipe;
  uv_pipe_init(loop_.loop(), &old_pipe, 0);
  ASSERT_EQ(uv_pipe_open(&old_pipe, fds[0]), 0);
  Carry(&old_pipe, [&](ImportContext& context) {
    return AdoptPipe(context, "handle", 3, loop_.loop(), &new_pipe);
  });
  uv_buf_t bytes = uv_buf_init(const_cast<char*>("x"), 1);
  EXPECT_EQ(uv_try_write(reinterpret_cast<uv_stream_t*>(&new_pipe), &bytes, 1), 1);
  loop_.RunUntil([&] { return peer.Has("x"); });

  uv_udp_t old_udp;
  uv_udp_t new_udp;
  uv_udp_init(loop_.loop(), &old_udp);
  sockaddr_in any;
  uv_ip4_addr("127.0.0.1", 0, &any);
  ASSERT_EQ(uv_udp_bind(&old_udp, reinterpret_cast<sockaddr*>(&any), 0), 0);
  uv_os_fd_t fd;
  ASSERT_EQ(uv_fileno(AsHandle(&old_udp), &fd), 0);
  const int port = SocketAddress::Local(fd)->port();
  Carry(&old_udp, [&](ImportContext& context) {
    return AdoptUdp(context, "handle", 3, loop_.loop(), &new_udp);
  });
  ASSERT_EQ(uv_fileno(AsHandle(&new_udp), &fd), 0);
  EXPECT_EQ(SocketAddress::Local(fd)->port(), port);

  uv_poll_t old_poll;
  uv_poll_t new_poll;
  UniqueFd poll_fd;
  ASSERT_EQ(uv_poll_init(loop_.loop(), &old_poll, peer.fd()), 0);
  Carry(&old_poll, [&](ImportContext& context) {
    return AdoptPoll(context, "handle", 3, loop_.loop(), &new_poll, poll_fd);
  });
  EXPECT_TRUE(poll_fd);
  for (uv_handle_t* handle : {AsHandle(&new_pipe), AsHandle(&new_udp), AsHandle(&new_poll)}) {
    uv_close(handle, nullptr);
  }
  loop_.RunReady();
}

TEST_F(RawHandlesTest, RefuseAHandleWithoutAnFd) {
  uv_timer_t timer;
  uv_timer_init(loop_.loop(), &timer);
  uv_tcp_t unopened;
  uv_tcp_init(loop_.loop(), &unopened);
  ExportContext context;
  EXPECT_EQ(CarryHandle(context, "t", 0, AsHandle(&timer)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CarryHandle(context, "t", 0, AsHandle(&unopened)).code(),
            absl::StatusCode::kInvalidArgument);
  uv_close(AsHandle(&timer), nullptr);
  uv_close(AsHandle(&unopened), nullptr);
  loop_.RunReady();
}

TEST_F(RawHandlesTest, KeepTheDeadlineOfATimer) {
  uv_timer_t old_timer;
  uv_timer_init(loop_.loop(), &old_timer);
  EXPECT_EQ(TimerDeadline(&old_timer), -1);
  uv_update_time(loop_.loop());
  uv_timer_start(
      &old_timer, [](uv_timer_t*) {}, 40, 0);
  const int64_t deadline = TimerDeadline(&old_timer);
  uv_close(AsHandle(&old_timer), nullptr);

  uv_timer_t timer;
  int64_t fired_at = 0;
  uv_timer_init(loop_.loop(), &timer);
  timer.data = &fired_at;
  const auto note = [](uv_timer_t* t) {
    *static_cast<int64_t*>(t->data) = static_cast<int64_t>(uv_hrtime());
  };
  ASSERT_TRUE(StartTimerAt(&timer, -1, 0, note).ok());
  EXPECT_FALSE(uv_is_active(AsHandle(&timer)));
  ASSERT_TRUE(StartTimerAt(&timer, deadline, 0, note).ok());
  loop_.RunUntil([&] { return fired_at != 0; });
  EXPECT_GE(fired_at, deadline - 5'000'000);  // libuv's own clock may lag by a few milliseconds
  fired_at = 0;
  ASSERT_TRUE(StartTimerAt(&timer, 1, 0, note).ok()) << "long past: at once";
  loop_.RunUntil([&] { return fired_at != 0; });
  uv_close(AsHandle(&timer), nullptr);
  loop_.RunReady();
}

}  // namespace
}  // namespace liveexec::uv
