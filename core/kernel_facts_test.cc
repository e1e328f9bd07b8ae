// The kernel's behaviour that the crossing leans on, across real execs. If one of these fails on
// some kernel, the code that names the fact is wrong there.
//
// Each fact has two halves: one that sets things up in a forked child and names what is to be seen,
// and one that runs in the same process after it has exec'd this very program.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#include "core/fd_channel.h"
#include "core/pinned_image.h"
#include "core/sealed_memfd.h"
#include "core/testing/in_child.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

using Arguments = std::vector<int>;
using AfterExec = std::string (*)(const Arguments& arguments);

Syscalls& Kernel() { return Syscalls::Kernel(); }

void KeepOpen(int fd) { fcntl(fd, F_SETFD, 0); }

// Becomes this program again, to run the half `name` with `arguments`. Returns only on failure.
std::string ExecSelf(const std::string& name, const Arguments& arguments, int program = -1) {
  std::vector<std::string> strings = {"kernel_facts_test", "--after-exec", name};
  for (int argument : arguments) strings.push_back(std::to_string(argument));
  std::vector<char*> argv;
  for (std::string& string : strings) argv.push_back(string.data());
  argv.push_back(nullptr);
  if (program < 0) {
    execve("/proc/self/exe", argv.data(), environ);
  } else {
    Kernel().Execveat(program, argv.data(), environ);
  }
  return std::string("exec: ") + strerror(errno);
}

std::string TheQueueAfterExec(const Arguments& arguments) {
  int channel = arguments[0];
  // The offset that the program before left behind outlived the exec: a plain peek begins there.
  char byte = 0;
  if (recv(channel, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1 || byte != 2) return "offset is lost";
  for (size_t batch : {2, 0, 1, 2}) {
    auto fds = PeekFdBatch(Kernel(), channel, batch);
    if (!fds.ok()) return std::string(fds.status().ToString());
    if (fds->size() != batch + 1) return "a batch has another size";
  }
  return PeekFdBatch(Kernel(), channel, 3).ok() ? "there is a fourth batch" : "";
}

TEST(KernelFacts, TheChannelsQueueAndItsPeekOffsetSurviveExec) {
  EXPECT_EQ(InChild([]() -> std::string {
              auto channel = CreateFdChannel(Kernel());
              if (!channel.ok()) return "channel";
              for (size_t count : {1, 2, 3}) {
                std::vector<int> fds(count, 0);
                if (!SendFdBatch(Kernel(), channel->sender.get(), fds).ok()) return "send";
              }
              if (!PeekFdBatch(Kernel(), channel->receiver.get(), 0).ok()) return "peek";
              KeepOpen(channel->receiver.get());  // The sender closes at exec.
              return ExecSelf("queue", {channel->receiver.get()});
            }),
            "");
}

std::string TheMemfdAfterExec(const Arguments& arguments) {
  auto mapping = SealedMapping::Open(Kernel(), arguments[0]);
  if (!mapping.ok()) return std::string(mapping.status().ToString());
  if (mapping->bytes().size() != 4096) return "another size";
  return pwrite(arguments[0], "x", 1, 0) < 0 && errno == EPERM ? "" : "it can be written";
}

TEST(KernelFacts, AMemfdsSealsSurviveExec) {
  EXPECT_EQ(InChild([]() -> std::string {
              auto writer = MemfdWriter::Create(Kernel(), "sealed");
              std::vector<uint8_t> page(4096, 7);
              if (!writer.ok() || !writer->Append(page).ok()) return "write";
              auto fd = std::move(*writer).Seal();
              if (!fd.ok()) return "seal";
              KeepOpen(fd->get());
              return ExecSelf("memfd", {fd->get()});
            }),
            "");
}

std::string ThePinnedProgramAfterExec(const Arguments& arguments) {
  auto image = PinnedImage::OfThisProcess(Kernel());
  if (!image.ok()) return std::string(image.status().ToString());
  if (static_cast<int>(image->identity().size % 1'000'000'007) != arguments[0]) {
    return "another program runs";
  }
  char link[4096] = {};
  if (readlink("/proc/self/exe", link, sizeof(link) - 1) < 0) return "readlink";
  return link == image->path() + " (deleted)" ? "" : std::string("its path is ") + link;
}

TEST(KernelFacts, AnOpenedProgramIsExecdAfterAnotherTookItsName) {
  char directory[] = "/tmp/lvx.XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  std::string path = std::string(directory) + "/program";
  std::string other = std::string(directory) + "/other";
  // A copy, because the name of the test itself must stay.
  ASSERT_EQ(system(("cp /proc/" + std::to_string(getpid()) + "/exe " + path + " && printf x > " +
                    other + " && chmod 755 " + other)
                       .c_str()),
            0);
  EXPECT_EQ(InChild([&]() -> std::string {
              auto pinned = PinnedImage::Open(Kernel(), path);
              if (!pinned.ok()) return "open";
              if (rename(other.c_str(), path.c_str()) != 0) return "rename";
              int size = static_cast<int>(pinned->identity().size % 1'000'000'007);
              return ExecSelf("pinned", {size}, pinned->fd());
            }),
            "");
  unlink(path.c_str());
  rmdir(directory);
}

constexpr size_t kOddStackSize = (64 << 10) + 4096 + 16;

std::string TheSignalsAfterExec(const Arguments& arguments) {
  if (getpid() != arguments[0]) return "another PID";
  sigset_t mask, pending;
  sigprocmask(SIG_BLOCK, nullptr, &mask);
  sigpending(&pending);
  if (sigismember(&mask, SIGUSR1) != 1 || sigismember(&mask, SIGUSR2) == 1) return "mask";
  if (sigismember(&pending, SIGUSR1) != 1) return "pending";
  struct sigaction action;
  sigaction(SIGPIPE, nullptr, &action);
  if (action.sa_handler != SIG_IGN) return "SIGPIPE is not ignored any more";
  sigaction(SIGUSR2, nullptr, &action);
  if (action.sa_handler != SIG_DFL) return "a handler is left";
  stack_t stack = {};
  sigaltstack(nullptr, &stack);
  if (stack.ss_size == kOddStackSize) return "the alternate stack is left";
  struct itimerspec value;
  if (syscall(SYS_timer_gettime, arguments[1], &value) == 0) return "a POSIX timer is left";
  return prctl(PR_GET_DUMPABLE) == 1 ? "" : "not dumpable";
}

TEST(KernelFacts, MaskPendingAndIgnoredSignalsSurviveExecHandlersAndTimersDoNot) {
  EXPECT_EQ(InChild([]() -> std::string {
              sigset_t mask;
              sigemptyset(&mask);
              sigaddset(&mask, SIGUSR1);
              sigprocmask(SIG_SETMASK, &mask, nullptr);
              raise(SIGUSR1);
              signal(SIGPIPE, SIG_IGN);
              signal(SIGUSR2, [](int) {});
              static char memory[kOddStackSize];
              stack_t stack = {};
              stack.ss_sp = memory;
              stack.ss_size = sizeof(memory);
              if (sigaltstack(&stack, nullptr) != 0) return "sigaltstack";
              prctl(PR_SET_DUMPABLE, 0);
              struct sigevent event = {};
              event.sigev_notify = SIGEV_SIGNAL;
              event.sigev_signo = SIGKILL;  // Whoever is hit notices.
              int timer = -1;
              if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) != 0) return "timer";
              struct itimerspec when = {};
              when.it_value.tv_sec = 3600;
              syscall(SYS_timer_settime, timer, 0, &when, nullptr);
              return ExecSelf("signals", {getpid(), timer});
            }),
            "");
}

std::string TheFilesAfterExec(const Arguments& arguments) {
  int epoll = arguments[0], ready = arguments[1], timer = arguments[2], closed = arguments[3];
  epoll_event event;
  if (epoll_wait(epoll, &event, 1, 0) != 1 || event.data.u64 != 4711) return "epoll set";
  eventfd_t count = 0;
  if (eventfd_read(ready, &count) != 0 || count != 9) return "eventfd";
  struct itimerspec value;
  if (timerfd_gettime(timer, &value) != 0 || value.it_value.tv_sec < 1800) return "timerfd";
  return fcntl(closed, F_GETFD) < 0 ? "" : "a close-on-exec fd is open";
}

TEST(KernelFacts, EpollSetsEventfdsAndTimerfdsSurviveExec) {
  EXPECT_EQ(InChild([]() -> std::string {
              int epoll = epoll_create1(0), ready = eventfd(9, 0);
              epoll_event event = {.events = EPOLLIN, .data = {.u64 = 4711}};
              if (epoll_ctl(epoll, EPOLL_CTL_ADD, ready, &event) != 0) return "epoll_ctl";
              int timer = timerfd_create(CLOCK_MONOTONIC, 0);
              struct itimerspec when = {};
              when.it_value.tv_sec = 3600;
              timerfd_settime(timer, 0, &when, nullptr);
              // High enough not to be an fd of this program at its start.
              int closed = fcntl(0, F_DUPFD_CLOEXEC, 500);
              return ExecSelf("files", {epoll, ready, timer, closed});
            }),
            "");
}

std::string TheSocketAfterExec(const Arguments& arguments) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  getsockopt(arguments[0], SOL_SOCKET, SO_COOKIE, &cookie, &size);
  if (static_cast<int>(cookie & 0x7fffffff) != arguments[2]) return "another cookie";
  char text[8] = {};
  if (read(arguments[0], text, sizeof(text)) != 6) return "unread bytes are lost";
  return strcmp(text, "unread") == 0 ? "" : text;
}

TEST(KernelFacts, ASocketKeepsItsCookieAndItsUnreadBytesAcrossExec) {
  EXPECT_EQ(InChild([]() -> std::string {
              int ends[2];
              if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return "socketpair";
              if (write(ends[1], "unread", 6) != 6) return "write";
              uint64_t cookie = 0;
              socklen_t size = sizeof(cookie);
              getsockopt(ends[0], SOL_SOCKET, SO_COOKIE, &cookie, &size);
              return ExecSelf("socket", {ends[0], ends[1], static_cast<int>(cookie & 0x7fffffff)});
            }),
            "");
}

TEST(KernelFacts, DuplicatesShareNonBlockingAndOffset) {
  UniqueFd file(memfd_create("shared", MFD_CLOEXEC));
  UniqueFd duplicate(fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  ASSERT_EQ(write(file.get(), "abc", 3), 3);
  EXPECT_EQ(lseek(duplicate.get(), 0, SEEK_CUR), 3);
  fcntl(duplicate.get(), F_SETFL, fcntl(duplicate.get(), F_GETFL) | O_NONBLOCK);
  EXPECT_NE(fcntl(file.get(), F_GETFL) & O_NONBLOCK, 0);
}

const std::map<std::string, AfterExec>& Halves() {
  static const auto* const halves = new std::map<std::string, AfterExec>{
      {"queue", TheQueueAfterExec},          {"memfd", TheMemfdAfterExec},
      {"pinned", ThePinnedProgramAfterExec}, {"signals", TheSignalsAfterExec},
      {"files", TheFilesAfterExec},          {"socket", TheSocketAfterExec},
  };
  return *halves;
}

int RunHalf(const std::string& name, const Arguments& arguments) {
  auto half = Halves().find(name);
  std::string failure = half == Halves().end() ? "no such half" : half->second(arguments);
  if (failure.empty()) return 0;
  fprintf(stderr, "%s after exec: %s\n", name.c_str(), failure.c_str());
  return 1;
}

}  // namespace
}  // namespace liveexec

int main(int argc, char** argv) {
  if (argc >= 3 && std::string(argv[1]) == "--after-exec") {
    liveexec::Arguments arguments;
    for (int i = 3; i < argc; ++i) arguments.push_back(atoi(argv[i]));
    return liveexec::RunHalf(argv[2], arguments);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
