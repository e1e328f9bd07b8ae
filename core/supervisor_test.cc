#include "core/supervisor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>

#include "core/error.h"
#include "core/unique_fd.h"

namespace liveexec {
namespace {

// A datagram socket with an abstract name of the kernel's choice.
class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    socket_ = UniqueFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    ASSERT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
    socklen_t size = sizeof(address);
    ASSERT_EQ(getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    name_ = "@" + std::string(address.sun_path + 1, size - sizeof(sa_family_t) - 1);
  }
  void TearDown() override { unsetenv("NOTIFY_SOCKET"); }

  struct Received {
    std::string text;
    UniqueFd fd;
  };
  Received Receive() {
    char buffer[64];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec text = {buffer, sizeof(buffer)};
    msghdr header = {};
    header.msg_iov = &text;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    const ssize_t size = recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    Received received;
    if (size > 0) received.text.assign(buffer, static_cast<size_t>(size));
    if (const cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
      received.fd.reset(fd);
    }
    return received;
  }

  UniqueFd socket_;
  std::string name_;
};

TEST_F(SupervisorTest, SendsTheMessageToAnAbstractSocket) {
  setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  ASSERT_TRUE(NotifySupervisor("MAINPID=12\nREADY=1").ok());
  char buffer[64];
  ssize_t count = recv(socket_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
  ASSERT_GT(count, 0);
  EXPECT_EQ(std::string(buffer, static_cast<size_t>(count)), "MAINPID=12\nREADY=1");
}

TEST_F(SupervisorTest, IsContentWithoutASupervisor) {
  unsetenv("NOTIFY_SOCKET");
  EXPECT_TRUE(NotifySupervisor("READY=1").ok());
}

TEST_F(SupervisorTest, RefusesANameThatIsNoSocketAddress) {
  for (std::string name : {std::string(), std::string("relative"), "/" + std::string(200, 'x')}) {
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
    EXPECT_EQ(ErrnoOf(NotifySupervisor("READY=1")), EINVAL) << name;
  }
}

TEST_F(SupervisorTest, ReportsASupervisorThatIsGone) {
  socket_.reset();
  setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  EXPECT_EQ(ErrnoOf(NotifySupervisor("READY=1")), ECONNREFUSED);
}

TEST_F(SupervisorTest, HandsOverTheFdThatIsToBeKept) {
  setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  const UniqueFd kept(eventfd(7, EFD_CLOEXEC));
  ASSERT_TRUE(StoreFd("clients", kept.get()).ok());
  Received received = Receive();
  EXPECT_EQ(received.text, "FDSTORE=1\nFDNAME=clients");
  uint64_t value = 0;
  ASSERT_EQ(read(received.fd.get(), &value, sizeof(value)), static_cast<ssize_t>(sizeof(value)));
  EXPECT_EQ(value, 7u) << "another open file";
  ASSERT_TRUE(ForgetStoredFds("clients").ok());
  received = Receive();
  EXPECT_EQ(received.text, "FDSTOREREMOVE=1\nFDNAME=clients");
  EXPECT_FALSE(received.fd);
}

TEST_F(SupervisorTest, RefusesANameThatWouldBreakTheMessage) {
  setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  for (std::string name :
       {std::string(), std::string("a:b"), std::string("a\nREADY=1"), std::string(256, 'x')}) {
    EXPECT_EQ(StoreFd(name, 0).code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

// Its queue holds a few datagrams.
TEST_F(SupervisorTest, WaitsForASupervisorWhoseQueueIsFull) {
  setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  absl::Status status;
  for (int i = 0; i < 10'000 && status.ok(); ++i) status = NotifySupervisor("STATUS=again");
  ASSERT_EQ(ErrnoOf(status), EAGAIN);
  std::thread reader([&] {
    char buffer[64];
    EXPECT_GT(recv(socket_.get(), buffer, sizeof(buffer), 0), 0);
  });
  EXPECT_TRUE(NotifySupervisor("READY=1", absl::Minutes(1)).ok());
  reader.join();
}

// Runs `check` in a process that was started as a supervisor starts one: with a pipe's ends as fds
// 3 and 4. Returns its exit status.
int WithGivenFds(const std::function<std::string(pid_t)>& pid_variable, bool (*check)()) {
  const pid_t child = fork();
  if (child == 0) {
    int ends[2];
    if (pipe(ends) != 0) _exit(2);
    // Above 4, so that neither overwrites the other.
    const int high[2] = {fcntl(ends[0], F_DUPFD, 10), fcntl(ends[1], F_DUPFD, 10)};
    if (dup2(high[0], 3) < 0 || dup2(high[1], 4) < 0) _exit(2);
    setenv("LISTEN_PID", pid_variable(getpid()).c_str(), 1);
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "one:two", 1);
    _exit(check() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(SupervisorTest, TakesTheFdsThatItWasGivenEachOnce) {
  EXPECT_EQ(WithGivenFds([](pid_t pid) { return std::to_string(pid); },
                         [] {
                           auto& given = SupervisorFds::OfThisProcess();
                           const auto any = [](int) { return true; };
                           const UniqueFd two = given.Take("two", any);
                           const bool once = two.get() == 4 && !given.Take("two", any);
                           const bool closed_to_children =
                               fcntl(3, F_GETFD) == FD_CLOEXEC && fcntl(4, F_GETFD) == FD_CLOEXEC;
                           const bool picky = !given.Take("one", [](int) { return false; });
                           const bool dropped = given.Drop("one") == 1 && fcntl(3, F_GETFD) == -1;
                           return once && closed_to_children && picky && dropped &&
                                  getenv("LISTEN_PID") == nullptr &&
                                  getenv("LISTEN_FDS") == nullptr &&
                                  getenv("LISTEN_FDNAMES") == nullptr;
                         }),
            0);
}

TEST_F(SupervisorTest, LeavesFdsAloneThatWereMeantForAnotherProcess) {
  EXPECT_EQ(WithGivenFds([](pid_t pid) { return std::to_string(pid + 1); },
                         [] {
                           auto& given = SupervisorFds::OfThisProcess();
                           return !given.Take("one", [](int) { return true; }) &&
                                  fcntl(3, F_GETFD) == 0;
                         }),
            0);
}

}  // namespace
}  // namespace liveexec
