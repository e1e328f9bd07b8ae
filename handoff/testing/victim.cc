// The victim: a server over an event loop of its own that the tests upgrade, and spoil.
//
//   victim DIR     listens on the UNIX socket DIR/s, its control socket is DIR/c/control; writes
//                  "ready\n" to its output when it serves.
//
// It answers each line with a line: "next" with a counter that all connections share, "generation"
// with the upgrader's, "environment" with the names of all its environment variables.
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/executor.h"
#include "handoff/program_note.h"
#include "handoff/testing/misbehaviour.h"
#include "handoff/testing/victim.capnp.h"
#include "handoff/upgrader.h"

LIVEEXEC_APPLICATION("victim", "1.0");
#if !defined(VICTIM_HAS_NO_SERVER)
LIVEEXEC_COMPONENT("server", 1, 1);
#endif
#if defined(VICTIM_DROPS_SERVER)
LIVEEXEC_DROPS_COMPONENT("server");
#endif

extern char** environ;

namespace liveexec {
namespace {

// Long for a machine that is busy, and short for a test that waits for it.
constexpr absl::Duration kRehydrateDeadline = absl::Seconds(3);

// Runs before main(), as the constructors of an application's static objects do.
struct StaticObject {
  StaticObject() { Misbehave("constructor").IgnoreError(); }
} static_object;

class PollLoop : public Executor {
 public:
  PollLoop() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  void Post(absl::AnyInvocable<void() &&> task) override {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    eventfd_write(wake_.get(), 1);
  }

  template <typename Fds, typename OnReadable>
  void Run(Fds fds_to_watch, OnReadable on_readable) {
    while (true) {
      std::vector<pollfd> fds = fds_to_watch();
      fds.push_back({wake_.get(), POLLIN, 0});
      if (poll(fds.data(), fds.size(), -1) < 0) continue;
      for (const pollfd& one : fds) {
        if (one.revents != 0 && one.fd != wake_.get()) on_readable(one.fd);
      }
      if (fds.back().revents != 0) RunTasks();
    }
  }

 private:
  void RunTasks() {
    eventfd_t count;
    eventfd_read(wake_.get(), &count);
    std::vector<absl::AnyInvocable<void() &&>> tasks;
    {
      std::lock_guard lock(mutex_);
      tasks.swap(tasks_);
    }
    for (auto& task : tasks) std::move(task)();
  }

  UniqueFd wake_;
  std::mutex mutex_;
  std::vector<absl::AnyInvocable<void() &&>> tasks_;
};

class Server : public Component {
 public:
  explicit Server(std::string path) : path_(std::move(path)) {}

  std::string_view name() const override { return "server"; }

  absl::Status Initialize() override {
    listener_ = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(listener_.get(), SOMAXCONN) != 0) {
      return ErrnoError(errno, "listen on " + path_);
    }
    return absl::OkStatus();
  }

  absl::Status Export(ExportContext& context) const override {
    context.InitRoot<testing_image::VictimImage>().setValue(value_);
    LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("listener", listener_.get()));
    for (const auto& [fd, client] : clients_) {
      LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("client", static_cast<uint64_t>(fd), fd));
    }
    return absl::OkStatus();
  }

  absl::Status Rehydrate(ImportContext& context) override {
    LIVEEXEC_ASSIGN_OR_RETURN(auto image, context.Root<testing_image::VictimImage>());
    value_ = image.getValue();
    LIVEEXEC_RETURN_IF_ERROR(Misbehave("half"));
    LIVEEXEC_ASSIGN_OR_RETURN(listener_, context.TakeFd("listener"));
    for (uint64_t number : context.FdNumbers("client")) {
      LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd client, context.TakeFd("client", number));
      clients_[client.get()] = std::move(client);
    }
    return Misbehave("rehydrate");
  }

  absl::Status SelfCheck() override { return Misbehave("check"); }

  std::vector<pollfd> Fds() const {
    std::vector<pollfd> fds = {{listener_.get(), POLLIN, 0}};
    for (const auto& [fd, client] : clients_) fds.push_back({fd, POLLIN, 0});
    return fds;
  }

  void OnReadable(int fd, uint64_t generation) {
    if (fd == listener_.get()) {
      UniqueFd client(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (client) clients_[client.get()] = std::move(client);
      return;
    }
    char line[256];
    ssize_t count = read(fd, line, sizeof(line));
    if (count <= 0) {
      if (count == 0 || errno != EAGAIN) clients_.erase(fd);
      return;
    }
    // A test writes a line at a time, and waits for its answer.
    std::string answer = Answer(std::string_view(line, static_cast<size_t>(count)), generation);
    if (write(fd, answer.data(), answer.size()) < 0) clients_.erase(fd);
  }

 private:
  std::string Answer(std::string_view line, uint64_t generation) {
    if (line == "generation\n") return std::to_string(generation) + "\n";
    if (line == "next\n") return std::to_string(++value_) + "\n";
    std::string names;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      names += std::string(*entry, strcspn(*entry, "=")) + " ";
    }
    return names + "\n";
  }

  std::string path_;
  uint64_t value_ = 0;
  UniqueFd listener_;
  std::map<int, UniqueFd> clients_;
};

int Main(const std::string& directory) {
  if (Fault() == "main:return") return 0;
  Misbehave("main").IgnoreError();
  PollLoop loop;
  Server server(directory + "/s");
  UpgraderOptions options;
  options.control_socket = directory + "/c/control";
  options.rehydrate_deadline = kRehydrateDeadline;
  options.rehearse = false;
  options.custodian = false;
  options.allow_environment = {"VICTIM_*"};
  auto upgrader = Upgrader::Create(loop, options);
  absl::Status status = upgrader.status();
#if !defined(VICTIM_HAS_NO_SERVER)
  if (status.ok() && Fault() != "main:forget") status = (*upgrader)->Register(server);
#endif
  if (status.ok()) status = (*upgrader)->Start();
  if (!status.ok()) {
    fprintf(stderr, "victim: %s\n", std::string(status.ToString()).c_str());
    return 1;
  }
  if ((*upgrader)->fresh() && write(STDOUT_FILENO, "ready\n", 6) != 6) return 1;
  loop.Run([&] { return server.Fds(); },
           [&](int fd) { server.OnReadable(fd, (*upgrader)->generation()); });
  return 0;
}

}  // namespace
}  // namespace liveexec

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s DIR\n", argv[0]);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  return liveexec::Main(argv[1]);
}
