#include "core/fd_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <limits>
#include <string>

#include "core/error.h"
#include "core/testing/faulty_syscalls.h"
#include "core/testing/in_child.h"
#include "core/testing/open_files.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

Syscalls& Kernel() { return Syscalls::Kernel(); }

FdChannelEnds NewChannel() {
  auto channel = CreateFdChannel(Kernel());
  EXPECT_TRUE(channel.ok()) << channel.status();
  return *std::move(channel);
}

// A memfd whose content is `number`: recognizable on the other side.
UniqueFd Numbered(int number) {
  UniqueFd fd(memfd_create("numbered", MFD_CLOEXEC));
  EXPECT_EQ(pwrite(fd.get(), &number, sizeof(number), 0), static_cast<ssize_t>(sizeof(number)));
  return fd;
}

int NumberOf(const UniqueFd& fd) {
  int number = -1;
  return pread(fd.get(), &number, sizeof(number), 0) == sizeof(number) ? number : -1;
}

// One message that is not ours: `data` with `fds`.
void SendForeign(int sender, std::string data, const std::vector<int>& fds) {
  struct iovec vector = {data.data(), data.size()};
  std::string control(CMSG_SPACE(sizeof(int) * fds.size()), '\0');
  struct msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  ASSERT_EQ(sendmsg(sender, &message, MSG_NOSIGNAL), static_cast<ssize_t>(data.size()));
}

TEST(FdChannel, BothEndsAreCloseOnExecAndNonBlocking) {
  FdChannelEnds channel = NewChannel();
  for (int fd : {channel.sender.get(), channel.receiver.get()}) {
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_NE(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  }
}

TEST(FdChannel, AnyBatchCanBePeekedInAnyOrderAsOftenAsOneLikes) {
  FdChannelEnds channel = NewChannel();
  int next = 0;
  for (size_t batch = 0; batch < 4; ++batch) {
    std::vector<UniqueFd> fds;
    std::vector<int> numbers;
    for (size_t i = 0; i <= batch; ++i) fds.push_back(Numbered(next++));
    for (const UniqueFd& fd : fds) numbers.push_back(fd.get());
    ASSERT_TRUE(SendFdBatch(Kernel(), channel.sender.get(), numbers).ok());
  }
  const int first_number[] = {0, 1, 3, 6};
  for (size_t batch : {2, 0, 3, 3, 1, 0, 2}) {
    auto fds = PeekFdBatch(Kernel(), channel.receiver.get(), batch);
    ASSERT_TRUE(fds.ok()) << fds.status();
    ASSERT_EQ(fds->size(), batch + 1);
    for (size_t i = 0; i < fds->size(); ++i) {
      EXPECT_EQ(NumberOf((*fds)[i]), first_number[batch] + static_cast<int>(i));
      EXPECT_EQ(fcntl((*fds)[i].get(), F_GETFD), FD_CLOEXEC);
    }
  }
}

TEST(FdChannel, ABatchHolds252FdsAndNotOneMore) {
  FdChannelEnds channel = NewChannel();
  std::vector<int> fds(kFdsPerBatch, channel.sender.get());
  ASSERT_TRUE(SendFdBatch(Kernel(), channel.sender.get(), fds).ok());
  auto peeked = PeekFdBatch(Kernel(), channel.receiver.get(), 0);
  ASSERT_TRUE(peeked.ok()) << peeked.status();
  EXPECT_EQ(peeked->size(), 252u);
  fds.push_back(channel.sender.get());
  EXPECT_FALSE(SendFdBatch(Kernel(), channel.sender.get(), fds).ok());
  EXPECT_FALSE(SendFdBatch(Kernel(), channel.sender.get(), {}).ok());
}

TEST(FdChannel, WhatIsNotThereIsOutOfRange) {
  FdChannelEnds channel = NewChannel();
  for (size_t index : {size_t{0}, size_t{1}, size_t{1} << 31, size_t{0xffffffff},
                       std::numeric_limits<size_t>::max()}) {
    auto fds = PeekFdBatch(Kernel(), channel.receiver.get(), index);
    EXPECT_EQ(fds.status().code(), absl::StatusCode::kOutOfRange) << index << " " << fds.status();
  }
  ASSERT_TRUE(SendFdBatch(Kernel(), channel.sender.get(), {0}).ok());
  for (size_t index : {size_t{1}, size_t{0xffffffff}, std::numeric_limits<size_t>::max()}) {
    auto fds = PeekFdBatch(Kernel(), channel.receiver.get(), index);
    EXPECT_EQ(fds.status().code(), absl::StatusCode::kOutOfRange) << index << " " << fds.status();
  }
}

TEST(FdChannel, TheQueueOutlivesItsSenderAndTheFdsThatWereSent) {
  FdChannelEnds channel = NewChannel();
  {
    UniqueFd fd = Numbered(42);
    ASSERT_TRUE(SendFdBatch(Kernel(), channel.sender.get(), {fd.get()}).ok());
  }
  channel.sender.reset();
  for (int i = 0; i < 2; ++i) {
    auto fds = PeekFdBatch(Kernel(), channel.receiver.get(), 0);
    ASSERT_TRUE(fds.ok()) << fds.status();
    EXPECT_EQ(NumberOf(fds->front()), 42);
  }
  EXPECT_EQ(PeekFdBatch(Kernel(), channel.receiver.get(), 1).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(FdChannel, ClosingTheLastReceivingEndLetsTheQueuedFdsGo) {
  FdChannelEnds channel = NewChannel();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  ASSERT_TRUE(SendFdBatch(Kernel(), channel.sender.get(), {writer.get()}).ok());
  writer.reset();
  char byte;
  EXPECT_EQ(read(reader.get(), &byte, 1), -1) << "the queue holds the writing end";
  EXPECT_EQ(errno, EAGAIN);
  channel.receiver.reset();
  EXPECT_EQ(read(reader.get(), &byte, 1), 0) << "end of file: nobody can write any more";
}

TEST(FdChannel, AFullQueueIsAnErrorAndNeverBlocks) {
  FdChannelEnds channel = NewChannel();
  const int size = 1;  // The kernel's minimum.
  setsockopt(channel.sender.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  absl::Status status;
  size_t sent = 0;
  while (sent < 100'000 && (status = SendFdBatch(Kernel(), channel.sender.get(), {0})).ok()) {
    ++sent;
  }
  EXPECT_EQ(ErrnoOf(status), EAGAIN) << status;
  EXPECT_TRUE(PeekFdBatch(Kernel(), channel.receiver.get(), sent - 1).ok())
      << "what was accepted before is still there";
}

TEST(FdChannel, AnIoUringIsRefusedWithTheKernelsErrno) {
  struct io_uring_params params = {};
  UniqueFd ring(static_cast<int>(syscall(SYS_io_uring_setup, 2, &params)));
  if (!ring) GTEST_SKIP() << "io_uring is not allowed here: " << strerror(errno);
  FdChannelEnds channel = NewChannel();
  EXPECT_EQ(ErrnoOf(SendFdBatch(Kernel(), channel.sender.get(), {ring.get()})), EINVAL);
}

TEST(FdChannel, FdsThatTheKernelDroppedAreNoticedAndNoneIsLeaked) {
  EXPECT_EQ(InChild([]() -> std::string {
              FdChannelEnds channel = NewChannel();
              std::vector<int> fds(100, 0);
              if (!SendFdBatch(Kernel(), channel.sender.get(), fds).ok()) return "send";
              auto before = OpenFiles();
              struct rlimit limit = {40, 40};
              if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return "setrlimit";
              auto peeked = PeekFdBatch(Kernel(), channel.receiver.get(), 0);
              if (!absl::IsResourceExhausted(peeked.status())) {
                return std::string(peeked.status().ToString());
              }
              if (OpenFiles() != before) return "fds leaked";
              return "";
            }),
            "");
}

TEST(FdChannel, AMessageThatIsNotOursIsDataLoss) {
  struct Foreign {
    const char* what;
    std::string data;
    size_t fds;
  };
  const Foreign table[] = {
      {"no fds", "\5", 0},
      {"no fds, and none announced", std::string(1, '\0'), 0},
      {"fewer fds than announced", "\5", 4},
      {"more fds than announced", "\5", 6},
      {"fds, and none announced", std::string(1, '\0'), 3},
      {"more than a batch", "\xfd", 253},
      {"more than a batch, another number announced", "\1", 253},
      {"text", "hello", 0},
  };
  for (const Foreign& foreign : table) {
    FdChannelEnds channel = NewChannel();
    SendForeign(channel.sender.get(), foreign.data, std::vector<int>(foreign.fds, 0));
    auto before = OpenFiles();
    auto fds = PeekFdBatch(Kernel(), channel.receiver.get(), 0);
    EXPECT_TRUE(absl::IsDataLoss(fds.status())) << foreign.what << ": " << fds.status();
    EXPECT_EQ(OpenFiles(), before) << foreign.what;
  }
}

TEST(FdChannel, EveryFailingCallIsAnErrorWithItsErrnoAndLeaksNothing) {
  auto before = OpenFiles();
  int count = ForEachCall(ENOMEM, Times::kOnce, [](FaultySyscalls& syscalls) {
    absl::Status status = [&]() -> absl::Status {
      LIVEEXEC_ASSIGN_OR_RETURN(FdChannelEnds channel, CreateFdChannel(syscalls));
      LIVEEXEC_RETURN_IF_ERROR(SendFdBatch(syscalls, channel.sender.get(), {0, 1}));
      return PeekFdBatch(syscalls, channel.receiver.get(), 0).status();
    }();
    // The send buffer's size is a wish: the first Setsockopt, on failure the second, may fail.
    bool only_the_wish = status.ok() && syscalls.calls()[1] == "Setsockopt";
    EXPECT_TRUE(only_the_wish || (!status.ok() && ErrnoOf(status) == ENOMEM)) << status;
  });
  EXPECT_GE(count, 5);
  EXPECT_EQ(OpenFiles(), before);
}

TEST(PeekFdBatch, SaysWhyWhenTheFdIsNoChannel) {
  UniqueFd event(eventfd(0, EFD_CLOEXEC));
  EXPECT_EQ(ErrnoOf(PeekFdBatch(Kernel(), event.get(), 0).status()), ENOTSOCK);
  EXPECT_EQ(ErrnoOf(PeekFdBatch(Kernel(), -1, 0).status()), EBADF);
}

}  // namespace
}  // namespace liveexec
