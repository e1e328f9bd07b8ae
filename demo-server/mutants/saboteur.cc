#include "demo-server/mutants/saboteur.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "demo-server/mutants/saboteur.capnp.h"

namespace liveexec::mutants {

namespace {

constexpr size_t kLeakedBytes = size_t{16} << 20;  // with each upgrade
constexpr int kHighestFd = 4096;                   // that is looked at

bool IsListener(int fd) {
  int listens = 0;
  socklen_t length = sizeof listens;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens != 0;
}

bool IsTcp(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_INET;
}

template <typename Action>
void ForTcpListener(Action action) {
  for (int fd = 0; fd < kHighestFd; ++fd) {
    if (IsTcp(fd) && IsListener(fd)) return action(fd);
  }
}

void Pause(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

// What waits to be accepted is reset.
void ResetAcceptQueue() {
  Pause(60);  // so that something waits
  ForTcpListener([](int fd) {
    shutdown(fd, SHUT_RDWR);
    listen(fd, 511);
  });
}

void CloseListener() {
  ForTcpListener([](int fd) { shutdown(fd, SHUT_RDWR); });
}

// The parent ends; its child, which shares all fds, serves on.
void ChangePid() {
  if (fork() > 0) _exit(0);
}

pid_t StartChild() {
  char program[] = "/bin/sleep";
  char time[] = "600";
  char* arguments[] = {program, time, nullptr};
  pid_t pid = 0;
  return posix_spawn(&pid, program, nullptr, nullptr, arguments, environ) == 0 ? pid : 0;
}

// flock(), whose lock belongs to what is open, not to a process and its fds.
UniqueFd LockedFile() {
  char path[] = "/tmp/liveexec-lock-XXXXXX";
  UniqueFd fd(mkostemp(path, O_CLOEXEC));
  unlink(path);
  if (!fd || flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return UniqueFd();
  return fd;
}

void LowerLimit() {
  const rlimit none{};
  setrlimit(RLIMIT_CORE, &none);
  prctl(PR_SET_NAME, "other");
}

}  // namespace

absl::Status Saboteur::Initialize() {
  child_ = StartChild();
  locked_ = LockedFile();
  return child_ != 0 && locked_ ? absl::OkStatus() : absl::InternalError("no child, or no lock");
}

absl::Status Saboteur::Export(ExportContext& context) const {
  auto image = context.InitRoot<image::Saboteur>();
  image.setUpgrades(upgrades_);
  image.setChild(child_);
  image.setLocked(static_cast<bool>(locked_));
  return locked_ ? context.CarryFd("locked", locked_.get()) : absl::OkStatus();
}

absl::Status Saboteur::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(auto image, context.Root<image::Saboteur>());
  upgrades_ = image.getUpgrades() + 1;
  child_ = image.getChild();
  if (image.getLocked()) {
    LIVEEXEC_ASSIGN_OR_RETURN(locked_, context.TakeFd("locked"));
  }
  return absl::OkStatus();
}

absl::Status Saboteur::SelfCheck() {
  if (fault_ == "refuse-upgrade") return absl::FailedPreconditionError("this mutant refuses");
  return absl::OkStatus();
}

// What an ever longer list that is carried from program to program comes to. By the kernel's hand:
// a compiler leaves out writing what nobody reads.
void Saboteur::LeakMemory() const {
  mmap(nullptr, kLeakedBytes * upgrades_, PROT_READ | PROT_WRITE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

void Saboteur::LeakFds() const {
  for (uint32_t i = 0; i < upgrades_; ++i) eventfd(0, EFD_CLOEXEC);
}

void Saboteur::LeakThreads() const {
  for (uint32_t i = 0; i < upgrades_; ++i) std::thread([] { pause(); }).detach();
}

void Saboteur::Activate() {
  if (!upgraded()) return;
  if (fault_ == "leak-memory") LeakMemory();
  if (fault_ == "leak-fd") LeakFds();
  if (fault_ == "leak-thread") LeakThreads();
  if (fault_ == "change-pid") ChangePid();
  if (fault_ == "reset-accept-queue") ResetAcceptQueue();
  if (fault_ == "close-listener") CloseListener();
  if (fault_ == "stall") Pause(4000);
  if (fault_ == "forget-child") kill(child_, SIGKILL);
  if (fault_ == "lose-lock") locked_.reset();
  if (fault_ == "change-limits") LowerLimit();
  if (fault_ == "crash") std::abort();
}

std::string TakeFault(int& argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], "--mutant") != 0) continue;
    std::string fault = argv[i + 1];
    std::copy(argv + i + 2, argv + argc + 1, argv + i);  // the null at the end as well
    argc -= 2;
    return fault;
  }
  return "none";
}

}  // namespace liveexec::mutants
