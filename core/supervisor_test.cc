#include "core/supervisor.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

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

}  // namespace
}  // namespace liveexec
