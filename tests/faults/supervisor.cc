// supervisor: a stand-in for systemd, as far as a service can tell.
//
//   supervisor {restart|patient} SOCKET PROGRAM [ARGUMENT...]
//
// Starts the program with NOTIFY_SOCKET=SOCKET, keeps the fds that it stores under their names, and
// hands them to the next start as fds 3, 4, ... (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES). When the
// main process ends with status 0, so does the supervisor. When it dies, "restart" ends what is
// left of the service and starts it again, as Restart=on-failure with KillMode=control-group does;
// "patient" waits for a message that names another main process, and follows that one.
//
// Prints a line for each message and each event.
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "core/unique_fd.h"

namespace liveexec::faults {
namespace {

constexpr size_t kMostStored = 16;  // FileDescriptorStoreMax=

struct Stored {
  std::string name;
  UniqueFd fd;
};

void Say(const std::string& what) {
  printf("supervisor: %s\n", what.c_str());
  fflush(stdout);
}

[[noreturn]] void Die(const char* what) {
  perror(what);
  exit(3);
}

UniqueFd Bind(const char* path) {
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
  unlink(path);
  if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    Die("bind");
  }
  return fd;
}

class Service {
 public:
  Service(bool patient, const char* socket, char** command)
      : patient_(patient), socket_(socket), command_(command), messages_(Bind(socket)) {}

  int Run() {
    Start();
    while (true) {
      pollfd events[] = {{messages_.get(), POLLIN, 0}, {main_.get(), POLLIN, 0}};
      // Without a main process poll() leaves out its place.
      if (poll(events, 2, -1) < 0) Die("poll");
      // What it said before it ended comes first.
      while (TakeMessage()) {
      }
      if (!main_ || (events[1].revents & POLLIN) == 0) continue;
      if (MainHasEnded()) return 0;
    }
  }

 private:
  void Start() {
    const pid_t supervisor = getpid();
    const pid_t child = fork();
    if (child < 0) Die("fork");
    if (child == 0) Exec(supervisor);
    // Here and in the child, so that whoever comes first finds it done.
    setpgid(child, child);
    group_ = child;
    Follow(child);
    Say(absl::StrCat("started ", child, " with ", stored_.size(), " fds"));
  }

  [[noreturn]] void Exec(pid_t supervisor) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != supervisor) _exit(3);
    std::vector<std::string> names;
    std::vector<int> high;
    for (const Stored& one : stored_) {
      names.push_back(one.name);
      high.push_back(fcntl(one.fd.get(), F_DUPFD, 100));
    }
    for (size_t i = 0; i < high.size(); ++i) dup2(high[i], 3 + static_cast<int>(i));
    for (int fd : high) close(fd);
    setenv("NOTIFY_SOCKET", socket_.c_str(), 1);
    if (!stored_.empty()) {
      setenv("LISTEN_PID", absl::StrCat(getpid()).c_str(), 1);
      setenv("LISTEN_FDS", absl::StrCat(stored_.size()).c_str(), 1);
      setenv("LISTEN_FDNAMES", absl::StrJoin(names, ":").c_str(), 1);
    }
    execv(command_[0], command_);
    _exit(3);
  }

  void Follow(pid_t pid) {
    pid_ = pid;
    main_.reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!main_) Die("pidfd_open");
  }

  // True when that is the end of the service.
  bool MainHasEnded() {
    int status = 0;
    // A main process that another one resurrected is nobody's child here.
    const bool known = waitpid(pid_, &status, 0) == pid_;
    main_.reset();
    Say(absl::StrCat("main process ", pid_, " ended, status ", status));
    if (!known || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) return true;
    if (patient_) return false;
    kill(-group_, SIGKILL);
    Start();
    return false;
  }

  bool TakeMessage() {
    char buffer[4096];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)];
    iovec text = {buffer, sizeof(buffer)};
    msghdr header = {};
    header.msg_iov = &text;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    const ssize_t size = recvmsg(messages_.get(), &header, MSG_CMSG_CLOEXEC);
    if (size < 0) return false;
    UniqueFd fd;
    if (const cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr) {
      int number = -1;
      memcpy(&number, CMSG_DATA(rights), sizeof(number));
      fd.reset(number);
    }
    const std::string message(buffer, static_cast<size_t>(size));
    Say(absl::StrReplaceAll(message, {{"\n", " "}}));
    Obey(absl::StrSplit(message, '\n'), std::move(fd));
    return true;
  }

  void Obey(const std::vector<std::string>& lines, UniqueFd fd) {
    std::string name = "stored";
    bool store = false, forget = false;
    for (const std::string& line : lines) {
      pid_t pid = 0;
      if (absl::StartsWith(line, "FDNAME=")) name = line.substr(7);
      store = store || line == "FDSTORE=1";
      forget = forget || line == "FDSTOREREMOVE=1";
      if (absl::StartsWith(line, "MAINPID=") && absl::SimpleAtoi(line.substr(8), &pid)) Follow(pid);
    }
    if (forget) std::erase_if(stored_, [&](const Stored& one) { return one.name == name; });
    if (store && fd && !IsStored(fd.get()) && stored_.size() < kMostStored) {
      stored_.push_back({name, std::move(fd)});
    }
  }

  bool IsStored(int fd) const {
    for (const Stored& one : stored_) {
      if (syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, fd, one.fd.get()) == 0) return true;
    }
    return false;
  }

  const bool patient_;
  const std::string socket_;
  char** const command_;
  UniqueFd messages_, main_;
  pid_t pid_ = 0, group_ = 0;
  std::vector<Stored> stored_;
};

}  // namespace
}  // namespace liveexec::faults

int main(int argc, char** argv) {
  if (argc < 4) return 3;
  return liveexec::faults::Service(strcmp(argv[1], "patient") == 0, argv[2], argv + 3).Run();
}
